"""What a run tells whoever watches it."""

from typing import Any


class Observer:
    """Is told how a run goes, and by itself says nothing: override what you want to hear."""

    def epoch_begins(self, epoch: int, step: int, num_steps: int) -> None:
        """An epoch (counted from 1) begins, or goes on after ``step`` of its ``num_steps`` steps."""

    def step_done(self) -> None:
        """A step is done."""

    def epoch_done(self, metrics: dict[str, Any]) -> None:
        """An epoch is done; ``metrics`` is its line in ``metrics.jsonl``."""

    def warn(self, message: str) -> None:
        """Something is wrong with the network: ``message`` says what."""

    def close(self) -> None:
        """The run is over."""
