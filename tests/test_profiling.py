"""Profiles are measured in processes of their own: memory of the one method flat, of the other growing with T."""

import json
import sys

import pytest

from polystep_snn.cli.main import main
from polystep_snn.errors import InputError
from polystep_snn.profiling import measure
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of memory can be reset on Linux only")


@pytest.mark.slow
@pytest.mark.alone
def test_memory_is_flat_in_time_and_below_backpropagations():
    config = TrainConfig("mnist", compile=False, threads=1).to_json()
    short, long = (measure("polystep", num_steps, config, 10)["peak_mb"] for num_steps in (25, 200))
    bptt = measure("bptt", 200, config, 10)["peak_mb"]
    assert long < 1.1 * short  # benchmarks hold the figure; here, page granularity and other tests' noise
    assert long < 0.5 * bptt


@pytest.mark.slow
def test_weight_space_keeps_the_currents_of_every_step():
    options = {**recipe("digits", space="weight"), "hidden": (64,), "rank": 2, "batch_size": 512}
    config = TrainConfig("digits", space="weight", compile=False, threads=1, **options).to_json()
    short, long = (measure("polystep", num_steps, config, 10)["peak_mb"] for num_steps in (10, 60))
    assert long > 2 * short


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    command = f"profile --num-steps 8 4 --hidden 16 --batch-size 8 --threads 1 --no-compile --out {tmp_path / 'p'} --json"
    assert main(command.split()) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [(p["num_steps"], p["method"]) for p in points] == [(4, "polystep"), (4, "bptt"), (8, "polystep"), (8, "bptt")]
    assert all(p["seconds_per_step"] > 0 and p["peak_mb"] >= 0 for p in points)
    assert json.loads((tmp_path / "p" / "profile.json").read_text())["points"] == points
    assert (tmp_path / "p" / "profile.png").stat().st_size > 10_000


@pytest.mark.slow
def test_backpropagation_is_profiled_with_float_weights():
    options = {**recipe("nmnist"), "hidden": (8,), "batch_size": 2}
    config = TrainConfig("nmnist", compile=False, threads=1, **options)
    assert config.network.weight_bits == 8
    assert measure("bptt", 10, config.to_json(), 10)["seconds_per_step"] > 0


def test_a_process_that_fails_is_reported_in_one_line():
    config = TrainConfig("mnist", compile=False, hidden=(2**24, 2**24)).to_json()
    with pytest.raises(InputError, match=r"bptt with 5 timesteps failed .*does not fit") as error:
        measure("bptt", 5, config, 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("arguments", "message"), [("--num-steps 0", "--num-steps is 0"), ("--run nowhere", "holds no run")])
def test_mistakes_take_one_line(tmp_path, capsys, arguments, message):
    assert main(["profile", "--out", str(tmp_path / "p"), *arguments.split()]) == 2
    assert message in capsys.readouterr().err
