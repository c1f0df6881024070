"""A run in TensorBoard: what ``metrics.jsonl`` holds, through torch's own ``SummaryWriter``."""

import importlib.util
from pathlib import Path
from typing import Any

from polystep_snn.errors import InputError
from polystep_snn.training.observer import Observer


def require_tensorboard() -> None:
    """InputError where the package is missing."""
    if not importlib.util.find_spec("tensorboard"):
        raise InputError("tensorboard is not installed: pip install tensorboard, or leave --tensorboard out")


class TensorBoardObserver(Observer):
    """Writes every epoch's metrics as scalars, and passes on what it is told.

    Args:
        folder: where TensorBoard's files go; created.
        behind: another observer, told the same.

    Raises:
        InputError: tensorboard is not installed.
    """

    def __init__(self, folder: Path | str, behind: Observer | None = None):
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self.behind = behind or Observer()
        self.writer = SummaryWriter(str(folder))

    def epoch_begins(self, epoch: int, step: int, num_steps: int) -> None:
        self.behind.epoch_begins(epoch, step, num_steps)

    def step_done(self) -> None:
        self.behind.step_done()

    def epoch_done(self, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            if isinstance(value, list):
                for layer, each in enumerate(value):
                    self.writer.add_scalar(f"{name}/layer_{layer}", each, metrics["epoch"])
            elif name != "epoch":
                self.writer.add_scalar(name, value, metrics["epoch"])
        self.writer.flush()
        self.behind.epoch_done(metrics)

    def warn(self, message: str) -> None:
        self.behind.warn(message)

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()
        self.behind.close()
