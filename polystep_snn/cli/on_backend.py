"""Samples through the backend that a command names."""

from typing import TYPE_CHECKING

from polystep_snn.cli.console import progress_bar, say

if TYPE_CHECKING:
    from polystep_snn.datasets.base import Part
    from polystep_snn.training.answers import Answers
    from polystep_snn.training.opened_run import OpenedRun


def answered(run: "OpenedRun", samples: "Part", backend: str | None, limit: int | None) -> tuple["Answers", str]:
    """What a run says to samples, and the backend that it ran on.

    Args:
        backend: "torch", or as of ``hardware.backend.open_backend``; "loihi2" looks at the chip's limits first. None for torch, or for the
            simulator where there are integers alone.
        limit: only so many samples.

    Raises:
        InputError: a network that does not fit on the chip, or that the backend cannot run.
    """
    from polystep_snn.hardware.backend import open_backend
    from polystep_snn.hardware.chip import preflight
    from polystep_snn.training.answers import answers
    from polystep_snn.training.deploy import deploy

    backend = backend or ("simulator" if run.latent is None else "torch")
    if backend == "torch":
        return answers(run, samples, limit=limit), "torch"
    deployed = deploy(run)
    if deployed.fits:
        say("this network was trained in floating point: it runs with its weights quantized afterwards")
    report = preflight(deployed.integers) if backend == "loihi2" else None
    if report is not None:
        report.check()
    num_samples = len(samples) if limit is None else min(limit, len(samples))
    with progress_bar(backend, num_samples) as bar:
        through = 0

        def of_batch(samples_of_batch: int) -> None:
            bar.update(through + samples_of_batch - bar.n)

        def of_all(count: int) -> None:
            nonlocal through
            through = count
            of_batch(0)

        with open_backend(backend, deployed.integers, on_progress=of_batch) as opened:
            if report is not None:
                say(report.table())
            if opened.reason:
                say(f"running on {opened.reason}")
            bar.set_description(opened.name)
            return answers(run, samples, opened, deployed.integers, limit, of_all), opened.name
