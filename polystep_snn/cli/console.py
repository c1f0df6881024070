"""What commands print: people read standard error and tables, programs the last line of standard output."""

import json
import os
import sys
import time
from typing import Any

from tqdm import tqdm

from polystep_snn.training.observer import Observer

_PLAIN_INTERVAL_S = 10.0


def speaks() -> bool:
    """Whether this process is the one that speaks: among those that ``torchrun`` started, the first."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str = "") -> None:
    """A line for people, on standard error, above a progress bar if there is one."""
    if speaks():
        tqdm.write(message, file=sys.stderr)


def print_json(value: Any) -> None:
    """One machine-readable object on one line of standard output."""
    if speaks():
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def described(scores: dict[str, Any]) -> str:
    """Test and validation scores of a summary, in words."""
    if "test_r2" in scores:
        return f"test MSE {scores['test_mse']:.4g}, R² {scores['test_r2']:.4f} (validation R² {scores['val_r2']:.4f})"
    return f"test accuracy {scores['test_accuracy']:.2%} (validation {scores['val_accuracy']:.2%})"


def number_or_name(text: str) -> int | str:
    """An entry of an option that takes several: what it may be is for the configuration to say."""
    return int(text) if text.isdecimal() else text


def progress_bar(description: str, total: int | None, unit: str = " samples") -> tqdm:
    """A bar on a terminal, nothing elsewhere; to be used in a ``with``."""
    return tqdm(desc=description, total=total, unit=unit, leave=False, file=sys.stderr, disable=not (sys.stderr.isatty() and speaks()))


class ConsoleObserver(Observer):
    """Shows a run: a bar with throughput and ETA on a terminal, else a line now and then; one line an epoch.

    Args:
        num_epochs: of the run.
        batch_size: samples a step, for the throughput.
    """

    def __init__(self, num_epochs: int, batch_size: int):
        self.num_epochs, self.batch_size = num_epochs, batch_size
        self.bar: tqdm | None = None
        self.terminal = sys.stderr.isatty() and speaks()
        self.spoke = time.monotonic()

    def epoch_begins(self, epoch: int, step: int, num_steps: int) -> None:
        self.bar = tqdm(
            total=num_steps * self.batch_size,
            initial=step * self.batch_size,
            desc=f"epoch {epoch}/{self.num_epochs}",
            unit=" samples",
            leave=False,
            disable=not self.terminal,
            file=sys.stderr,
        )
        self.epoch, self.step, self.num_steps = epoch, step, num_steps

    def step_done(self) -> None:
        assert self.bar is not None
        self.step += 1
        self.bar.update(self.batch_size)
        if not self.terminal and time.monotonic() - self.spoke > _PLAIN_INTERVAL_S:
            say(f"epoch {self.epoch}/{self.num_epochs}: step {self.step} of {self.num_steps}")
            self.spoke = time.monotonic()

    def epoch_done(self, metrics: dict[str, Any]) -> None:
        self.close()
        self.spoke = time.monotonic()
        if "val_r2" in metrics:
            scores = f"R² train {metrics['train_r2']:7.4f}  validation {metrics['val_r2']:7.4f}"
        else:
            scores = f"train {metrics['train_accuracy']:7.2%}  validation {metrics['val_accuracy']:7.2%}"
        say(f"epoch {metrics['epoch']:3d}/{self.num_epochs}  loss {metrics['train_loss']:.4f}  {scores}  {metrics['seconds']:7.1f} s")

    def warn(self, message: str) -> None:
        say(f"warning: {message}")

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
