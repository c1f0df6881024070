"""Runs of every kind, and commands that are given to them."""

import json

import pytest

from polystep_snn.cli.main import main
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE

QUICK = ["--hidden", "20", "--epochs", "2", "--lr", "0.02", "--threads", "1", "--no-compile"]


KINDS = {
    "chip": ["--neuron", "loihi"],
    "counts": ["--neuron", "loihi", "--readout", "count", "--alpha", "0.5", "--encoder", "latency"],
    "deep": ["--neuron", "loihi", "--hidden", "20", "12", "--encoder", "poisson"],
    "maps": ["--neuron", "loihi", "--hidden", "4c3", "p2", "8c2", "--probed", "16", "0"],
    "recurrent": ["--neuron", "loihi", "--hidden", "20r"],
    "delayed": ["--neuron", "loihi", "--hidden", "20d4", "12"],
    "float": ["--encoder", "rate"],
    "direct": [],
}


SIZES = {"deep": [64, 20, 12, 10], "delayed": [64, 20, 12, 10], "maps": [64, 4 * 6 * 6, 8 * 2 * 2, 10]}


# Blank ones included.
STEPS = {"float": 15, "delayed": 16 + 4}


ON_CHIP = [kind for kind, options in KINDS.items() if "loihi" in options]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs on the digits by kind, trained when they are first asked for."""
    folder = tmp_path_factory.mktemp("deploy")

    class Runs(dict):
        def __missing__(self, kind):
            assert main(["train", "digits", "--out", str(folder / kind), *QUICK, *KINDS[kind]]) == 0
            self[kind] = folder / kind
            return self[kind]

    return Runs()


@pytest.fixture
def without_lava(monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, "/nowhere/python")


def call(capsys, *arguments, code=0):
    """The JSON that a command prints, and its lines for people."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err.splitlines()


def one_line(capsys, *arguments, code=2):
    """What a command that fails says, which is one line and no result."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("polystep-snn: error: ")
