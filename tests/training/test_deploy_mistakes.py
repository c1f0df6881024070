"""Mistakes with deployed networks take one line."""

from functools import partial

import pytest

from polystep_snn.cli.main import main
from polystep_snn.hardware.chip import Chip, Limit, preflight
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE
from tests.training.deployed_runs import call, one_line, runs, without_lava  # noqa: F401 (fixtures)


@pytest.mark.parametrize("command", ["export {run} --out {tmp}/n", "verify {run}", "eval {run} --backend simulator"])
def test_currents_are_not_spikes(runs, capsys, tmp_path, command):
    line = one_line(capsys, *command.format(run=runs["direct"], tmp=tmp_path).split())
    assert line == "the run's encoder is 'direct', but the chip takes spikes: train with --neuron loihi, or with another --encoder"
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("command", ["eval {run} --backend lava", "eval {run} --backend loihi2", "verify {run} --backend lava"])
def test_lava_that_is_not_there_is_not_replaced(runs, capsys, command, without_lava):
    line = one_line(capsys, *command.format(run=runs["chip"]).split())
    assert line.startswith(f"${PYTHON_VARIABLE} is /nowhere/python, which is no program: run `make lava-env`, or set ")


def test_auto_says_why_it_is_the_simulator(runs, capsys, without_lava):
    result, lines = call(capsys, "eval", runs["chip"], "--backend", "auto")
    assert result["backend"] == "simulator"
    assert lines[0].startswith(f"running on the simulator, since ${PYTHON_VARIABLE} is /nowhere/python")
    assert lines[-1].endswith("on simulator")


@pytest.mark.usefixtures("lava_python")
def test_a_chip_that_is_not_there(runs, capsys):
    assert "needs Intel's Lava extension" in one_line(capsys, "eval", runs["chip"], "--backend", "loihi2")


def test_a_backend_that_fails(runs, capsys, monkeypatch, tmp_path):
    """A Python that dies where Lava should start."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(program))
    for command in ("eval", "verify"):
        assert one_line(capsys, command, runs["chip"], "--backend", "lava", code=3) == "the Lava worker was killed by SIGKILL"
        # A Lava that is there and fails is not taken for one that is not.
        assert one_line(capsys, command, runs["chip"], "--backend", "auto", code=3) == "the Lava worker was killed by SIGKILL"


@pytest.mark.parametrize("command", ["eval", "verify"])
@pytest.mark.parametrize("limit", ["0", "-3"])
def test_wrong_limits(runs, capsys, command, limit):
    assert one_line(capsys, command, runs["chip"], "--backend", "simulator", "--limit", limit) == f"--limit is {limit}: choose at least 1"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("export {run} --out {tmp}", "{tmp} is a folder: name a file"),
        ("export {run} --out /proc/nothing/n", "cannot be created"),
        ("export {tmp}/none --out {tmp}/n", "holds no run"),
        ("verify {tmp}/none", "holds no run"),
    ],
)
def test_mistakes_take_one_line(runs, capsys, tmp_path, command, message):
    line = one_line(capsys, *command.format(run=runs["chip"], tmp=tmp_path).split())
    assert message.format(tmp=tmp_path) in line


@pytest.mark.parametrize(
    "command", ["export x", "export x --out y --format onnx", "verify x --backend torch", "eval x --backend gpu", "verify x --limit many"]
)
def test_wrong_arguments_take_one_line(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["export", "verify", "eval"])
def test_help_holds_examples(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"polystep-snn {command} " in capsys.readouterr().out.split("examples:")[1]


def test_what_does_not_fit_the_chip_is_not_written(runs, capsys, tmp_path, monkeypatch):
    """A chip whose cores take fewer inputs: the table is there, and the layer is named."""
    small = Chip(fan_in=Limit(63, "Davies"))
    monkeypatch.setattr("polystep_snn.hardware.chip.preflight", partial(preflight, chip=small))
    capsys.readouterr()
    assert main(["export", str(runs["chip"]), "--out", str(tmp_path / "n")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "polystep-snn: error: layer 0 has 64 inputs, a core takes 63: use fewer inputs"
    assert any(line.startswith("Does not fit: layer 0 has 64 inputs") for line in lines)
    assert not (tmp_path / "n").exists()
