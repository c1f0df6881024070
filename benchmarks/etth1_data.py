"""ETTh1's oil temperature in windows, and what predicts it without a network.

The file is ``ETT/ETTh1.csv`` in the folder that $POLYSTEP_SNN_DATA names: https://github.com/zhouhaoyi/ETDataset, hourly, 17,420 rows. Its
column OT alone, in the usual parts of 8,640, 2,880 and 2,880 hours; no window reaches across a border. Values are z-scores, by the training
part's mean and deviation.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from polystep_snn.errors import InputError

# Hours that are seen, and hours that are predicted.
SEEN, AHEAD = 96, 96
HOURS = {"train": 8640, "validation": 2880, "test": 2880}


@dataclass(frozen=True)
class Windows:
    """One part.

    Attributes:
        seen, ahead: ``[n, 96]``, z-scores.
    """

    seen: Tensor
    ahead: Tensor

    @property
    def last(self) -> Tensor:
        """``[n, 1]``, the last value that is seen: what inputs and targets are differences from."""
        return self.seen[:, -1:]

    def differences(self) -> tuple[Tensor, Tensor]:
        """Inputs ``[n, 96, 1]`` and targets ``[n, 96]``, from the last value."""
        return (self.seen - self.last)[..., None], self.ahead - self.last


def load_etth1() -> dict[str, Windows]:
    """The windows of "train", "validation" and "test".

    Raises:
        InputError: no file, or one that is not ETTh1's.
    """
    file = Path(os.environ.get("POLYSTEP_SNN_DATA", "data")) / "ETT" / "ETTh1.csv"
    if not file.is_file():
        raise InputError(f"{file} is missing: get it from https://github.com/zhouhaoyi/ETDataset, or name a folder in POLYSTEP_SNN_DATA")
    with file.open(newline="") as rows:
        values = [_temperature(row.get("OT"), file, line) for line, row in enumerate(csv.DictReader(rows), 2)]
    needed = sum(HOURS.values())
    if len(values) < needed:
        raise InputError(f"{file} has {len(values)} hours with a column OT: give the whole file, {needed} are used")
    series = torch.tensor(values[:needed], dtype=torch.float64)
    training = series[: HOURS["train"]]
    series = ((series - training.mean()) / training.std(correction=0)).float()
    parts = dict(zip(HOURS, series.split(list(HOURS.values())), strict=True))
    return {name: _windows(part) for name, part in parts.items()}


def _temperature(text: str | None, file: Path, line: int) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise InputError(f"{file}: {text!r} in line {line} is no temperature: give ETTh1's own file") from None


def _windows(series: Tensor) -> Windows:
    """All windows of a series ``[hours]``."""
    both = series.unfold(0, SEEN + AHEAD, 1)
    return Windows(both[:, :SEEN].contiguous(), both[:, SEEN:].contiguous())


def mse(predicted: Tensor, windows: Windows) -> float:
    """Mean squared error of predictions ``[n, 96]``, or of one value for all hours, ``[n, 1]``."""
    return float((predicted - windows.ahead).square().double().mean())


def ridge(data: dict[str, Windows], strengths: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0, 10_000.0)) -> tuple[Tensor, float]:
    """Predictions of the test part by a linear map of differences, and its strength, which validation chooses.

    Without an offset: a constant series stays constant.
    """
    x, y = (part.squeeze(-1).double() for part in data["train"].differences())

    def predicted(strength: float, windows: Windows) -> Tensor:
        weights = torch.linalg.solve(x.T @ x + strength * torch.eye(SEEN, dtype=x.dtype), x.T @ y)
        return windows.last + windows.differences()[0].squeeze(-1).double() @ weights

    best = min(strengths, key=lambda strength: mse(predicted(strength, data["validation"]), data["validation"]))
    return predicted(best, data["test"]), best
