"""What a checkpoint holds is checked where it is read: nothing that is accepted here is refused, or misread, later."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.magnitude import LARGEST, flaw
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training.checkpoint import damaged, part

_NUMBERS = ("seconds", "train_loss", "val_loss", "peak_rss_mb")
_COUNTS = ("epoch", "forward_passes")
_LISTS = ("firing_rates", "dead_neurons", "saturated_neurons")
_LARGEST = 2**62
# Of a schedule: means nothing between two steps, and not every version of torch has both.
_MOMENTARY = {"_get_lr_called_within_step", "_is_initial"}


class Content:
    """A checkpoint that has been read, and what it must be.

    Args:
        path: for messages.
        tensors, meta: as ``checkpoint.load`` returns them.
        score: by which the run's epochs are told apart, "accuracy" or "r2".

    Every method raises ``InputError`` where the content is not what it must be.
    """

    def __init__(self, path: Path, tensors: dict[str, Tensor], meta: dict[str, Any], score: str = "accuracy"):
        self.path, self.tensors, self.meta, self.score = path, tensors, meta, score

    def require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise damaged(self.path, reason)

    def field(self, name: str) -> Any:
        """A field of the JSON object."""
        self.require(name in self.meta, f"it has no field {name!r}")
        return self.meta[name]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part, by what follows ``prefix.``."""
        return part(self.tensors, prefix)

    def weights(self, prefix: str, network: SpikingNetwork) -> dict[str, Tensor]:
        """Parameters and delays of a network: all of them, of its shapes and types, that can be computed with."""
        found = self.part(prefix)
        self.alike(prefix, found, network.state_dict())
        for k, wiring in enumerate(network.wirings):
            delays = found.get(f"delays_{k}")
            good = delays is None or bool(((delays >= 0) & (delays <= wiring.max_delay)).all())
            self.require(good, f"{prefix}.delays_{k} holds others than 0 to {wiring.max_delay}")
        for name, tensor in found.items():
            self.require((flawed := flaw(tensor)) is None, f"{prefix}.{name} contains {flawed}")
        return found

    def alike(self, what: str, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        """Tensors of the names, types and shapes of others."""
        if found.keys() != expected.keys():
            raise self._of_another(f"{what} has {sorted(found)} instead of {sorted(expected)}")
        for name, like in expected.items():
            if found[name].shape != like.shape:
                raise self._of_another(f"{what}.{name} has shape {list(found[name].shape)} instead of {list(like.shape)}")
            ours, theirs = (str(x.dtype).removeprefix("torch.") for x in (like, found[name]))
            self.require(ours == theirs, f"{what}.{name} is {theirs} instead of {ours}")

    def _of_another(self, reason: str) -> InputError:
        return InputError(f"{self.path} is the checkpoint of another network ({reason[:200]}): name the folder it belongs to")

    def thresholds(self, count: int) -> list[float]:
        """One for each layer of neurons."""
        found = self.field("thresholds")
        self.require(isinstance(found, list) and len(found) == count, f"it has no thresholds for {count} layers")
        for value in found:
            self.require(_is_number(value) and 1e-30 <= value <= 1e30, f"a threshold is {str(value)[:20]}")
        return found

    def count(self, name: str, largest: int = _LARGEST // 2) -> int:
        """A whole number from 0."""
        value = self.field(name)
        self.require(_is_count(value) and value <= largest, f"{name} is {str(value)[:20]}")
        return value

    def seconds(self) -> float:
        """That the run has taken."""
        value = self.field("seconds")
        self.require(_is_number(value) and value >= 0, f"seconds is {str(value)[:20]}")
        return value

    def history(self, epochs: int, integers: bool = False) -> list[dict[str, Any]]:
        """The metrics of so many epochs; of a folder that holds integers alone, there may be none."""
        found = self.field("history")
        self.require(
            isinstance(found, list) and (len(found) == epochs or (integers and not found)), f"it has no metrics of {epochs} epochs"
        )
        numbers = (*_NUMBERS, f"train_{self.score}", f"val_{self.score}")
        for number, metrics in enumerate(found, 1):
            where = f"the metrics of epoch {number}"
            self.require(isinstance(metrics, dict) and metrics.keys() == {*numbers, *_COUNTS, *_LISTS}, f"{where} are others")
            good = (
                all(_is_number(metrics[name]) for name in numbers)
                and all(_is_count(metrics[name]) for name in _COUNTS)
                and all(isinstance(metrics[name], list) and all(map(_is_number, metrics[name])) for name in _LISTS)
                and metrics["epoch"] == number
            )
            self.require(good, f"{where} are no numbers")
        return found

    def best(self, epochs: int) -> dict[str, Any] | None:
        """The epoch that scored best, and its scores; None before the first."""
        found = self.field("best")
        if found is None:
            self.require(not epochs, "it names no best epoch")
            return None
        score = f"val_{self.score}"
        good = (
            isinstance(found, dict)
            and found.keys() == {"epoch", score, "val_loss"}
            and _is_count(found["epoch"])
            and 1 <= found["epoch"] <= epochs
            and _is_number(found[score])
            and (found[score] >= 0 or self.score != "accuracy")
            and found[score] <= 1
            and _is_number(found["val_loss"])
        )
        self.require(good, "its best epoch is none")
        return found

    def groups(self, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """The optimizer's parameter groups: its own, but for the learning rate."""
        found, ours = self.field("param_groups"), optimizer.state_dict()["param_groups"]
        self.require(isinstance(found, list) and len(found) == len(ours), "its parameter groups are others")
        for group, own in zip(found, ours, strict=True):
            self.require(isinstance(group, dict) and group.keys() == own.keys(), "its parameter groups have other options")
            for name, value in own.items():
                theirs: Any = group[name]
                if isinstance(value, tuple) and isinstance(theirs, list):  # JSON has no tuples
                    theirs = tuple(theirs)
                same = type(theirs) is type(value) and theirs == value
                self.require(same or (name == "lr" and _is_number(theirs) and theirs >= 0), f"its optimizer's {name} is another one")
        return found

    def scheduler(self, ours: dict[str, Any], steps: int, rates: list[float]) -> dict[str, Any]:
        """The schedule's state after so many steps, at which it had these learning rates."""
        found = self.field("scheduler")
        alike = isinstance(found, dict) and found.keys() - _MOMENTARY == ours.keys() - _MOMENTARY
        self.require(alike, "its schedule is another one")
        lasting = {name: value for name, value in ours.items() if name not in _MOMENTARY}
        expected = {**lasting, "last_epoch": steps, "_step_count": steps + 1, "_last_lr": rates}
        for name, value in expected.items():
            self.require(found[name] == value and isinstance(found[name], type(value)), f"its schedule's {name} is another one")
        return {**ours, **expected}

    def optimizer_state(self, optimizer: torch.optim.Optimizer, steps: int) -> dict[str, Tensor]:
        """Averages of AdamW after so many steps."""
        found, parameters = part(self.tensors, "optimizer"), optimizer.param_groups[0]["params"]
        expected: dict[str, Tensor] = {}
        for index, p in enumerate(parameters if steps else ()):
            expected |= {f"{index}.exp_avg": p, f"{index}.exp_avg_sq": p, f"{index}.step": torch.zeros((), dtype=torch.float32)}
        self.alike("optimizer", found, expected)
        for name, tensor in found.items():
            flawed = flaw(tensor, LARGEST**2 if name.endswith("_sq") else LARGEST)
            self.require(flawed is None, f"optimizer.{name} contains {flawed}")
            self.require(not name.endswith("step") or tensor.item() == steps, f"optimizer.{name} is {tensor.flatten()[0].item():g}")
            self.require(not name.endswith("_sq") or bool((tensor >= 0).all()), f"optimizer.{name} is negative")
        return found

    def totals(self, network: SpikingNetwork, step: int) -> dict[str, Tensor]:
        """Sums over the steps of an epoch that has begun; layers without firing rates have none."""
        found, scalar = part(self.tensors, "totals"), torch.zeros((), dtype=torch.float32)
        rates = {f"rates.{k}": torch.zeros(wiring.num_neurons) for k, wiring in enumerate(network.wirings) if f"rates.{k}" in found}
        self.alike("totals", found, {"loss": scalar, "accuracy": scalar, **rates} if step else {})
        for name, tensor in found.items():
            # Accuracies and rates add up at most 1 a step; R² may be negative.
            free = name == "loss" or (name == "accuracy" and self.score != "accuracy")
            low, high = (-_LARGEST, _LARGEST) if free else (0, 1.001 * step)
            self.require(bool(((tensor >= low) & (tensor <= high)).all()), f"totals.{name} is out of its range")
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST
