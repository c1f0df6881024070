"""What the commands that learn on the chip do alike."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from polystep_snn.cli.console import progress_bar

if TYPE_CHECKING:
    from polystep_snn.hardware.adaptation import Pool
    from polystep_snn.hardware.lesson import Lesson


def carry_out(lesson: "Lesson", pool: "Pool", backend: str, file: Path) -> float:
    """A lesson on a backend, which keeps the network in ``file``; returns the seconds it took."""
    from polystep_snn.hardware.backend import open_backend

    started = time.perf_counter()
    with open_backend(backend, lesson.learner.network) as opened, progress_bar(opened.name, len(lesson.plan.samples)) as bar:
        opened.learn(lesson, pool.spikes, save_to=file, on_samples=lambda shown: bar.update(shown - bar.n))
    return time.perf_counter() - started
