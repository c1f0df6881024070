"""A run of which only configuration, metrics and integers are at hand, as what its checkpoint would say.

Latent weights are not in the integers; whole numbers times the size of a unit stand in for them. They are quantized to the same integers.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.convert import to_integer_network
from polystep_snn.errors import InputError
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.snn.calibrate import with_thresholds
from polystep_snn.snn.wiring import Wiring
from polystep_snn.training.build import build_network
from polystep_snn.training.config import TrainConfig


def from_integers(config: TrainConfig, metrics: Path, integers: IntegerNetwork) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON object as ``checkpoint.load`` gives them, of the finished run that wrote these files.

    There are no tensors where torch's neurons have no counterpart of the integers, as after learning on the chip.

    Args:
        config: of that run.
        metrics: its ``metrics.jsonl``, if there is one.
        integers: its ``network.safetensors``.

    Raises:
        InputError: files that cannot be read.
    """
    history, name = read_metrics(metrics), f"val_{config.method.score}"
    complete = [epoch for epoch in history if "val_loss" in epoch]
    best: dict[str, Any] = {"epoch": integers.provenance.get("epoch", 1), name: float(integers.provenance.get(name, 0.0))}
    if history and not complete:
        # It has learned on the chip since: the integers' provenance tells of the run before.
        best = max(({"epoch": epoch.get("epoch"), name: epoch.get(name, 0.0)} for epoch in history), key=lambda epoch: epoch[name])
    of_best = [epoch["val_loss"] for epoch in complete if epoch.get("epoch") == best["epoch"]]
    thresholds = [float(layer.vth[0] * layer.scale) for layer in integers.layers[:-1]]
    meta = {
        "config": config.to_json(),
        "epoch": len(history) or config.optimizer.epochs,
        "history": complete,
        "best": {**best, "val_loss": of_best[0] if of_best else 0.0},
        "thresholds": thresholds,
    }
    if config.network.neuron != "loihi":
        return {}, meta  # quantized after training: torch's network has other numbers
    built = build_network(config.replace(device="cpu"), integers.input_shape, len(integers.classes))
    found = dict(_latent(integers, built.wirings))
    alike = {name: p.shape for name, p in found.items()} == {name: p.shape for name, p in built.state_dict().items()}
    if alike:
        built.load_state_dict(found)
        built.neurons[:] = with_thresholds(built.neurons, thresholds)
        again = to_integer_network(built, integers.num_steps, integers.encoder, integers.input_shape, integers.classes)
        pairs = list(zip(again.layers, integers.layers, strict=True))
        alike = all((ours.du, ours.dv) == (theirs.du, theirs.dv) for ours, theirs in pairs)
    # Adapting changes thresholds and biases, learning weights; nothing on the chip changes shapes and decays.
    if not alike:
        raise InputError(f"{metrics.parent / 'network.safetensors'} is not the network that its config.json describes: restore both")
    if not all(_equal(*pair) for pair in pairs):
        return {}, meta
    return {f"best.{name}": p for name, p in found.items()}, meta


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; none where there is no such file.

    Raises:
        InputError: others than JSON objects.
    """
    if not path.is_file():
        return []
    try:
        found = [json.loads(line) for line in path.read_text().splitlines()]
        if not all(isinstance(metrics, dict) for metrics in found):
            raise ValueError("a line is no object")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({str(error)[:200]}): restore it, or start a new run") from None
    return found


def _latent(integers: IntegerNetwork, wirings: list[Wiring]) -> Iterator[tuple[str, Tensor]]:
    """Parameters and delays, by the names of ``SpikingNetwork``."""
    for k, (layer, wiring) in enumerate(zip(integers.layers, wirings, strict=True)):
        scale = np.float32(layer.scale)
        yield f"linears.{k}.weight", torch.from_numpy(_summed_first(wiring, layer.weight) * scale)
        yield f"linears.{k}.bias", torch.from_numpy((layer.bias[:: wiring.num_positions] / 64).astype(np.float32) * scale)
        if layer.recurrent is not None:
            yield f"recurrents.{k}", torch.from_numpy(layer.recurrent * scale)
        if layer.delays is not None:
            yield f"delays_{k}", torch.from_numpy(layer.delays.astype(np.int64))


def _summed_first(wiring: Wiring, weight: np.ndarray) -> np.ndarray:
    """Weights behind sum-pooling, of which the chip holds one for every input: one for every square."""
    if wiring.pool is None:
        return weight
    if wiring.convolution is not None:
        return weight[:, :, :: wiring.pool.size, :: wiring.pool.size]
    squares = wiring.pool.squares(torch.arange(wiring.num_inputs)).numpy()
    return weight[:, np.unique(squares, return_index=True)[1]]


def _equal(ours: IntegerLayer, theirs: IntegerLayer) -> bool:
    """Whether two layers compute the same."""
    arrays = all(
        np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("weight", "vth", "bias", "recurrent", "delays", "du", "dv")
    )
    return arrays and ours.convolution == theirs.convolution and ours.weight_exp == theirs.weight_exp
