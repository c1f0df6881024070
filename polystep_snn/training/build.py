"""From a configuration to the things that run."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch

from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.datasets import Dataset, Framing, load
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, Shape, SumPool
from polystep_snn.polystep.cost import CrossEntropy, RateTarget, rate_scale
from polystep_snn.polystep.relative import Relative
from polystep_snn.polystep.schedule import Schedule
from polystep_snn.polystep.transport import Sinkhorn, Softmax
from polystep_snn.snn.encoders import Encoder, make_encoder
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import Neuron, SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout
from polystep_snn.spaces.node.space import NodeSpace
from polystep_snn.spaces.node.step import PolyStep
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import HybridLowRank
from polystep_snn.training.config import AUGMENTATION_OPTIONS, EVENTS, FRAMING_OPTIONS, RECIPES, TrainConfig, parse_layer
from polystep_snn.training.workers import Workers

# A spike-count readout learns from counts alone only once its outputs fire: until then half of the final membrane counts too.
_RESIDUAL = Schedule(0.5, 0.0, until=0.9)


def resolve(config: TrainConfig) -> TrainConfig:
    """``auto`` replaced by what it stands for on this machine, so that a resumed run computes with the same.

    Raises:
        InputError: an unknown device, or CUDA where there is none.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = None
    if kind not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}: choose cpu, cuda or auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch finds no CUDA device: choose 'cpu' or 'auto'")
    return replace(config, device=device, threads=config.threads or torch.get_num_threads())


def build_encoder(config: TrainConfig) -> Encoder:
    """The encoder of a run on images."""
    return make_encoder(config.encoder, config.num_steps)


def build_framing(config: TrainConfig) -> Framing | None:
    """How the events of a run become frames; None for a run on images."""
    if config.encoder != EVENTS:
        return None
    options = {name: getattr(config, name) for name in FRAMING_OPTIONS}
    return Framing(config.num_steps, **{**options, "crop": config.crop or None})


def build_augmentation(config: TrainConfig) -> Augmentation:
    """What may happen to the recordings that a run learns from."""
    return Augmentation(**{name: getattr(config, name) for name in AUGMENTATION_OPTIONS}, seed=config.seed)


def load_data(config: TrainConfig, data_dir: Path | None = None) -> Dataset:
    """The data of a run; see ``polystep_snn.datasets.load``.

    Raises:
        InputError: an encoder that is not for such data.
    """
    holds_events = RECIPES.get(config.dataset, {}).get("encoder") == EVENTS
    if config.dataset in RECIPES and holds_events != (config.encoder == EVENTS):
        holds = f"event recordings: choose {EVENTS!r}" if holds_events else "images: choose another one"
        raise InputError(f"encoder is {config.encoder!r}, but {config.dataset} holds {holds}")
    return load(config.dataset, data_dir, build_framing(config))


def build_cost(config: TrainConfig) -> CrossEntropy:
    """The cost that is minimised and reported."""
    return CrossEntropy(rate_scale(config.num_steps))


def build_network(config: TrainConfig, shape: Sequence[int], num_classes: int) -> SpikingNetwork:
    """The network of a run with its initial weights, thresholds not yet chosen.

    Args:
        shape: of an image, or of a frame of events: height and width, or channels, height and width.
        num_classes: width of the readout.
    """
    neuron: Neuron
    if config.neuron == "loihi":
        neuron = CubaParameters.from_beta(config.beta, config.alpha)
    else:
        neuron = LIFParameters.from_beta(config.beta, reset=config.reset)
        if config.alpha:
            neuron = neuron._replace(tau_syn_inv=(1 - config.alpha) / neuron.dt).checked()
    readout: Readout = MembraneReadout(config.readout_decay) if config.readout == "membrane" else SpikeCountReadout(neuron)
    num_inputs = prod(shape) if config.encoder == EVENTS else build_encoder(config).num_channels(prod(shape))
    hidden = [parse_layer(item) for item in config.hidden]
    flat = all(isinstance(item, int) for item in hidden)
    if not flat and num_inputs != prod(shape):
        raise InputError(f"encoder is {config.encoder!r}, which gives a pixel several inputs: choose another one for convolutions")
    maps = (shape[0] if len(shape) == 3 else 1, shape[-2], shape[-1])
    architecture: list[int | Shape | Conv | SumPool] = [num_inputs if flat else maps, *hidden, num_classes]
    generator = torch.Generator().manual_seed(config.seed)
    try:
        network = SpikingNetwork(architecture, neuron._replace(v_th=config.v_th or 1.0), readout, generator, config.weight_bits)
        return network.to(config.device)
    except (MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"a network of {architecture} does not fit on {config.device} ({reason}): choose smaller layers") from None


def build_polystep(config: TrainConfig, network: SpikingNetwork) -> PolyStep | WeightStep:
    """What fills the gradients: PolyStep in node space or in weight space. The processes of a job share the latter's costs."""
    transport = {"softmax": Softmax, "sinkhorn": Sinkhorn}[config.transport](eps=config.eps)
    if config.space == "weight":
        return WeightStep(
            network,
            build_cost(config),
            WeightSpace(config.radius, HybridLowRank(config.rank), particle_dim=config.rank, polytope=config.polytope),
            Relative(transport),
            compile=config.compile,
            seed=config.seed,
            average=Workers.join(torch.device(config.device)).average,
        )
    return PolyStep(
        network,
        NodeSpace(
            radius=config.radius,
            num_windows=config.windows,
            polytope=config.polytope,
            num_probed=_probed(config),
            credit=config.credit,
        ),
        transport,
        build_cost(config),
        residual=_RESIDUAL if config.readout == "count" else None,
        compile=config.compile,
        seed=config.seed,
        rate_target=RateTarget(config.target_rate, config.rate_weight) if config.rate_weight else None,
    )


def _probed(config: TrainConfig) -> int | list[int | None] | None:
    """``--probed``: 0 is all, one number holds for every layer."""
    probed = [n or None for n in config.probed]
    return probed[0] if len(probed) == 1 else probed


def build_bptt(config: TrainConfig, network: SpikingNetwork, surrogate: str = "fast_sigmoid") -> SurrogateBPTT:
    """What fills the gradients in a comparison."""
    return SurrogateBPTT(network, surrogate, build_cost(config), config.compile)


def build_optimizer(config: TrainConfig, network: SpikingNetwork) -> torch.optim.Optimizer:
    """What takes the step."""
    return torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
