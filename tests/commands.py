"""Commands as a user gives them, for data sets of events."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from polystep_snn.cli.main import main


@contextmanager
def trained(dataset: str, folder: Path, options: str) -> Iterator[Path]:
    """A run on the recordings in ``folder/data``, which is where all commands look while it lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("POLYSTEP_SNN_DATA", str(folder / "data"))
        assert main(["train", dataset, "--out", str(folder / "run"), *options.split()]) == 0
        yield folder / "run"


def answers(capsys: pytest.CaptureFixture) -> Callable[..., Any]:
    """A function that gives a command and returns what it prints as JSON."""
    capsys.readouterr()

    def answer(*arguments):
        assert main([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return answer


def assert_drawn(answer: Callable[..., Any], run: Path) -> None:
    """All figures of a run, none of them empty."""
    figures = [Path(name) for name in answer("plot", run)["figures"]]
    assert [figure.name for figure in figures] == ["curves.png", "activity.png", "rates.png", "confusion.png"]
    assert all(np.std(imread(figure)) > 0.02 for figure in figures)
