"""From a run to the chip: its network in integers, and its test samples as spikes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import polystep_snn
from polystep_snn.convert import LayerFit, quantized, to_integer_network
from polystep_snn.errors import InputError
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import SpikeCountReadout
from polystep_snn.training.build import build_encoder
from polystep_snn.training.metrics import to_tensors
from polystep_snn.training.run_folder import OpenedRun

_BATCH = 1000


class Deployed(NamedTuple):
    """A run's network for the chip.

    Attributes:
        network: in torch, on the chip's neurons.
        integers: the artifact.
        fits: what quantizing afterwards did to each layer; empty for a network that was trained in integers.
    """

    network: SpikingNetwork
    integers: IntegerNetwork
    fits: list[LayerFit]


def deploy(run: OpenedRun) -> Deployed:
    """The integer network of a run; one that was trained in floating point is quantized.

    Raises:
        InputError: an input current instead of spikes, or neurons without a counterpart on the chip.
    """
    config = run.config
    if config.encoder == "direct":
        raise InputError("the run's encoder is 'direct', but the chip takes spikes: train with --neuron loihi, or with another --encoder")
    network, fits = run.network, []
    if not network.integer:
        network, fits = quantized(network)
    if isinstance(network.readout, SpikeCountReadout):
        network.readout = SpikeCountReadout(network.readout.neuron)
    provenance: dict[str, str | int | float] = {
        "dataset": config.dataset,
        "seed": config.seed,
        "epoch": run.best["epoch"],
        "val_accuracy": run.best["val_accuracy"],
        "trained_in": "floating point" if fits else "integers",
        "polystep_snn": polystep_snn.__version__,
    }
    shape = run.dataset.train.images.shape[1:]
    return Deployed(network, to_integer_network(network, config.num_steps, config.encoder, shape, run.dataset.classes, provenance), fits)


def encoded_test_set(run: OpenedRun, limit: int | None = None) -> Iterator[tuple[Tensor, np.ndarray, np.ndarray]]:
    """The first ``limit`` test samples, or all, as ``OpenedRun.evaluate`` encodes them.

    Yields:
        Spikes in torch ``[T, B, M]``, the same in numpy as uint8, and labels ``[B]``.
    """
    encoder, device = build_encoder(run.config), torch.device(run.config.device)
    images, labels = to_tensors(run.dataset.test, device)
    generator = torch.Generator(device).manual_seed(0)
    for x, y in zip(images[:limit].split(_BATCH), labels[:limit].split(_BATCH), strict=True):
        spikes = torch.stack([frame.flatten(1) for frame in encoder(x, generator)])
        yield spikes, spikes.cpu().numpy().astype(np.uint8), y.cpu().numpy()
