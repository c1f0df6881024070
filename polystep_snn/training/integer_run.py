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
    history = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.is_file() else []
    name = f"val_{config.method.score}"
    # What has learned on the chip says only in its metrics which epoch was best.
    scores = [metrics[name] for metrics in history]
    epoch = int(integers.provenance.get("epoch", 1 + int(np.argmax(scores)) if scores else 1))
    score = float(integers.provenance.get(name, scores[epoch - 1] if epoch <= len(scores) else 0.0))
    complete = [metrics for metrics in history if "val_loss" in metrics]
    loss = complete[epoch - 1]["val_loss"] if epoch <= len(complete) else 0.0
    thresholds = [float(layer.vth[0] * layer.scale) for layer in integers.layers[:-1]]
    meta = {
        "config": config.to_json(),
        "epoch": len(complete) or config.optimizer.epochs,
        "history": complete,
        "best": {"epoch": epoch, name: score, "val_loss": loss},
        "thresholds": thresholds,
    }
    if config.network.neuron != "loihi":
        return {}, meta  # quantized after training: torch's network has other numbers
    built = build_network(config.replace(device="cpu"), integers.input_shape, len(integers.classes))
    found = dict(_latent(integers, built.wirings))
    if {name: p.shape for name, p in found.items()} == {name: p.shape for name, p in built.state_dict().items()}:
        built.load_state_dict(found)
        built.neurons[:] = with_thresholds(built.neurons, thresholds)
        again = to_integer_network(built, integers.num_steps, integers.encoder, integers.input_shape, integers.classes)
        if all(_equal(*pair) for pair in zip(again.layers, integers.layers, strict=True)):
            return {f"best.{name}": p for name, p in found.items()}, meta
    return {}, meta


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
