"""From a configuration to the things that run."""

from collections.abc import Sequence
from math import prod

import torch

from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.datasets import Framing
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.config import EVENTS, SEQUENCE
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, Item, SumPool
from polystep_snn.polystep.cost import CrossEntropy, MeanSquaredError, RateTarget, SmoothedCrossEntropy, rate_scale
from polystep_snn.polystep.relative import Relative
from polystep_snn.polystep.schedule import Schedule
from polystep_snn.polystep.transport import Sinkhorn, Softmax
from polystep_snn.snn.encoders import Encoder, make_encoder
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import Neuron, SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout
from polystep_snn.spaces.node.space import NodeSpace
from polystep_snn.spaces.node.step import NodeStep
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import HybridLowRank
from polystep_snn.training.adamw import AdamW
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.workers import Workers

# A spike-count readout learns from counts alone only once its outputs fire: until then half of the final membrane counts too.
_RESIDUAL = Schedule(0.5, 0.0, until=0.9)


def resolve(config: TrainConfig) -> TrainConfig:
    """``auto`` replaced by what it stands for on this machine, so that a resumed run computes with the same.

    Raises:
        InputError: an unknown device, or CUDA where there is none.
    """
    device = config.run.device
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
    return config.replace(device=device, threads=config.run.threads or torch.get_num_threads())


def build_encoder(config: TrainConfig) -> Encoder:
    """The encoder of a run on images."""
    return make_encoder(config.data.encoder, config.data.num_steps)


def build_framing(config: TrainConfig) -> Framing | None:
    """How the events of a run become frames; None for a run on images."""
    if not config.data.holds_events:
        return None
    return config.data.framing()


def build_augmentation(config: TrainConfig) -> Augmentation:
    """What may happen to the recordings that a run learns from."""
    return config.data.augmentation(config.run.seed)


def build_cost(config: TrainConfig) -> CrossEntropy | MeanSquaredError:
    """The cost that is reported, and minimised unless labels are smoothed."""
    scale = rate_scale(build_readout(config).full_scale(config.data.total_steps))
    return MeanSquaredError(scale) if config.method.cost == "mse" else CrossEntropy(scale)


def build_training_cost(config: TrainConfig) -> CrossEntropy | MeanSquaredError:
    """The cost that is minimised."""
    cost, smoothing = build_cost(config), config.method.label_smoothing
    return SmoothedCrossEntropy(cost.scale, smoothing) if smoothing else cost


def build_readout(config: TrainConfig) -> Readout:
    """The readout of a run, with the neurons of its hidden layers where it has some."""
    if config.network.readout in ("membrane", "max"):
        return MembraneReadout(config.network.readout_decay, maximum=config.network.readout == "max")
    return MembraneReadout.over_time() if config.network.readout == "mean" else SpikeCountReadout(build_neuron(config))


def build_neuron(config: TrainConfig) -> Neuron:
    """The neurons of a run, thresholds not yet chosen."""
    if config.network.neuron == "loihi":
        return CubaParameters.from_beta(config.network.beta, config.network.alpha)
    neuron = LIFParameters.from_beta(config.network.beta, reset=config.network.reset)
    if not config.network.alpha:
        return neuron
    return neuron._replace(tau_syn_inv=(1 - config.network.alpha) / neuron.dt).checked()


def build_network(config: TrainConfig, shape: Sequence[int], num_classes: int) -> SpikingNetwork:
    """The network of a run with its initial weights, thresholds not yet chosen.

    Args:
        shape: of an image, or of a step of events or of a sequence: height and width, or channels, height and width.
        num_classes: width of the readout.
    """
    neuron, readout = build_neuron(config), build_readout(config)
    num_inputs = prod(shape) if config.data.encoder in (EVENTS, SEQUENCE) else build_encoder(config).num_channels(prod(shape))
    hidden = config.network.layers
    flat = not any(isinstance(item, Conv | SumPool) for item in hidden)
    if not flat and num_inputs != prod(shape):
        raise InputError(
            f"encoder is {config.data.encoder!r}, which does not give every pixel one input: choose another one for convolutions"
        )
    maps = (shape[0] if len(shape) == 3 else 1, shape[-2], shape[-1])
    architecture: list[Item] = [num_inputs if flat else maps, *hidden, num_classes]
    generator = torch.Generator().manual_seed(config.run.seed)
    try:
        network = SpikingNetwork(
            architecture, neuron._replace(v_th=config.network.v_th or 1.0), readout, generator, config.network.weight_bits
        )
        return network.to(config.run.device)
    except (MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"a network of {architecture} does not fit on {config.run.device} ({reason}): choose smaller layers") from None


def build_polystep(config: TrainConfig, network: SpikingNetwork) -> NodeStep | WeightStep:
    """What fills the gradients: PolyStep in node space or in weight space. The processes of a job share the latter's costs."""
    transport = {"softmax": Softmax, "sinkhorn": Sinkhorn}[config.method.transport](eps=config.method.eps)
    if config.method.space == "weight":
        return WeightStep(
            network,
            build_training_cost(config),
            WeightSpace(
                config.method.radius, HybridLowRank(config.method.rank), particle_dim=config.method.rank, polytope=config.method.polytope
            ),
            Relative(transport),
            compile=config.run.compile,
            seed=config.run.seed,
            average=Workers.join(torch.device(config.run.device)).average,
        )
    return NodeStep(
        network,
        NodeSpace(
            radius=config.method.radius,
            num_windows=config.method.windows,
            polytope=config.method.polytope,
            num_probed=_probed(config),
            credit=config.method.credit,
            recurrent_credit=config.method.recurrent_credit,
        ),
        transport,
        build_training_cost(config),
        residual=_RESIDUAL if config.network.readout == "count" else None,
        compile=config.run.compile,
        seed=config.run.seed,
        rate_target=_rate_target(config),
        every_step=config.method.cost_steps == "all",
    )


def _rate_target(config: TrainConfig) -> RateTarget | None:
    method = config.method
    return RateTarget(method.target_rate, method.rate_weight, method.spike_price) if method.rate_weight or method.spike_price else None


def _probed(config: TrainConfig) -> int | list[int | None] | None:
    """``--probed``: 0 is all, one number holds for every layer."""
    probed = [n or None for n in config.method.probed]
    return probed[0] if len(probed) == 1 else probed


def build_bptt(config: TrainConfig, network: SpikingNetwork, surrogate: str = "fast_sigmoid") -> SurrogateBPTT:
    """What fills the gradients in a comparison."""
    every_step = config.method.cost_steps == "all"
    return SurrogateBPTT(network, surrogate, build_training_cost(config), config.run.compile, every_step)


def build_optimizer(config: TrainConfig, network: SpikingNetwork) -> torch.optim.Optimizer:
    """What takes the step."""
    return AdamW(network.parameters(), config.optimizer.lr, config.optimizer.weight_decay)
