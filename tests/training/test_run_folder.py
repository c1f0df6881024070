"""What a run folder may hold: damaged and foreign checkpoints, edited configurations, a full disk; and what is refused at the start."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from polystep_snn.errors import InputError
from polystep_snn.training import checkpoint, trainer
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer
from tests.training.small_runs import small_config


def test_a_folder_with_a_run_is_not_overwritten(digits, tmp_path):
    Trainer(small_config(), tmp_path / "run", digits)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match="already holds a run: go on with --resume"):
        Trainer(small_config(seed=5), tmp_path / "run", digits)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def spoiled(path, change):
    """Rewrite a checkpoint with other tensors or metadata."""
    tensors, meta = checkpoint.load(path)
    meta.pop("schema")
    change(tensors, meta)
    checkpoint.save(path, tensors, meta)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.unlink(), "there is no checkpoint"),
        (lambda p: p.write_bytes(b""), "is damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "is damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])), "its checksum"),
        (lambda p: p.write_bytes(b"\xff" * 8 + p.read_bytes()[8:]), "is damaged"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b"polystep_snn", b"polystep_xyz", 1)), "is no checkpoint of polystep-snn"),
        (lambda p: spoiled(p, lambda t, m: m.update(schema=99)), "has schema 99, this version reads up to 3"),
        (lambda p: spoiled(p, lambda t, m: m["config"].update(hidden=[25])), "belongs to another configuration"),
        (lambda p: spoiled(p, lambda t, m: t.update({"model.linears.0.weight": torch.zeros(3, 3)})), "checkpoint of another network"),
        (lambda p: spoiled(p, lambda t, m: t.pop("generator.order")), "checkpoint of another network"),
        (lambda p: spoiled(p, lambda t, m: t.pop("method.generator")), r"another network \(method has \[\] instead of \['generator'\]"),
        (lambda p: spoiled(p, lambda t, m: m.pop("scheduler")), "is damaged .it has no field 'scheduler'"),
        (lambda p: spoiled(p, lambda t, m: m.pop("config")), "configuration is None"),
        (lambda p: spoiled(p, lambda t, m: m.update(thresholds=5)), "is damaged .it has no thresholds for 1 layers"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b'thresholds\\": [', b'thresholds\\": [9', 1)), "is damaged"),
    ],
)
def test_checkpoints_that_are_not_this_runs(digits, tmp_path, spoil, message):
    Trainer(small_config(), tmp_path / "run", digits)
    spoil(tmp_path / "run" / "checkpoint.safetensors")
    with pytest.raises(InputError, match=message) as error:
        Trainer(small_config(), tmp_path / "run", digits, resume=True)
    assert "\n" not in str(error.value)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from polystep_snn.training import checkpoint
path = Path(sys.argv[1])
checkpoint.save(path, {"a": torch.zeros(10)}, {"n": 1})
before = path.read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # what does not fit fails, as on a full disk
try:
    checkpoint.save(path, {"a": torch.zeros(10_000)}, {"n": 2})
except checkpoint.InputError as error:
    print(error)
assert path.read_bytes() == before
assert [p.name for p in path.parent.iterdir()] == [path.name]
"""


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "c.safetensors")], capture_output=True, text=True, check=True)
    assert "could not be written" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_nothing_is_pickled(tmp_path, digits):
    Trainer(small_config(), tmp_path / "run", digits)
    assert load_file(tmp_path / "run" / "checkpoint.safetensors")
    source = "".join(p.read_text() for p in __import__("pathlib").Path(trainer.__file__).parent.glob("*.py"))
    assert "torch.load" not in source
    assert "pickle" not in source.replace("Nothing is pickled", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": ()}, "hidden is"),
        ({"hidden": (0,)}, "each from 1 to"),
        ({"encoder": "morse"}, "choose one of direct"),
        ({"epochs": 0}, "epochs is 0"),
        ({"windows": 9}, "windows is 9, but there are 6 timesteps"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"beta": 1.5}, "beta is 1.5"),
        ({"averaging": 1.0}, "averaging is 1.0: choose a fraction from 0 to below 1"),
        ({"device": "tpu"}, "choose cpu, cuda or auto"),
        ({"batch_size": 2000}, "digits has 1257 training samples"),
        ({"hidden": 2.5}, "hidden is 2.5: give a value of type tuple"),
        ({"hidden": (2.5,)}, "give whole numbers"),
        ({"num_steps": 15.5}, "num_steps is 15.5: give a value of type int"),
        ({"compile": "no"}, "compile is 'no'"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"threads": 100_000}, "threads is 100000"),
        ({"hidden": (2**24, 2**24)}, "does not fit on cpu"),
        ({"eps": 1e-50}, "eps is 1e-50"),
        ({"v_th": 1e300}, r"v_th is 1e\+300"),
        ({"device": "cpu:x"}, "choose cpu, cuda or auto"),
        ({"space": "weight"}, r"probed is \(10,\), but the space 'weight' has no such option: leave it out, or choose the space 'node'"),
        ({"space": "weight", "probed": 0, "windows": 2}, "windows is 2, but the space 'weight' has no such option"),
        ({"space": "weight", "probed": 0, "rate_weight": 1.0}, "rate_weight is 1.0, but the space 'weight'"),
        ({"space": "weight", "probed": 0, "credit": "chained"}, "credit is chained, but the space 'weight' has no such option"),
        ({"credit": "guessed"}, "credit is 'guessed': choose one of auto, exact, chained"),
        ({"rank": 4}, "rank is 4, but the space 'node' has no such option: leave it out, or choose the space 'weight'"),
        ({"space": "weight", "probed": 0, "rank": 0}, "rank is 0: choose a number from 1 to"),
        ({"space": "weight", "probed": 0, "rank": 13, "polytope": "cube"}, "a cube in 13 dimensions"),
        ({"space": "weight", "probed": 0, "neuron": "loihi", "weight_bits": 8}, "the neuron 'loihi' is probed in the space 'node' only"),
        ({"space": "time"}, "choose one of node, weight"),
        ({"dataset": "mnist"}, "the data is digits, but the configuration says mnist"),
    ],
)
def test_configurations_that_describe_no_run(digits, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        Trainer(small_config(**change), tmp_path / "run", digits)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_weights_that_became_nan_are_not_saved(digits, tmp_path):
    run = Trainer(small_config(), tmp_path / "run", digits)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with torch.no_grad():
        run.network.linears[0].bias[3] = float("inf")
    with pytest.raises(InputError, match=r"linears\.0\.bias contains NaN or infinity"):
        run.save()
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("text", ["null", "5", "[1]", '{"hidden": [3]}', '{"dataset": "digits", "speed": 3}', '{"dataset": 3}', "{", ""])
def test_configurations_that_were_edited(digits, tmp_path, text):
    Trainer(small_config(epochs=1), tmp_path / "run", digits).fit()
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(InputError) as error:
        open_run(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_configuration_of_another_run(digits, tmp_path):
    Trainer(small_config(epochs=1), tmp_path / "run", digits).fit()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "beta": 0.5}))
    with pytest.raises(InputError, match="belongs to another configuration"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t["totals.loss"].fill_(float("nan")), "totals.loss is out of its range"),
        (lambda t, m: t["totals.accuracy"].fill_(-1e30), "totals.accuracy is out of its range"),
        (lambda t, m: m.update(forward_passes=2**62), "forward_passes is 4611686018427387904"),
    ],
)
def test_numbers_that_would_spoil_the_next_checkpoint(digits, tmp_path, change, message):
    trainer = Trainer(small_config(), tmp_path / "run", digits)
    trainer.stop_requested = True
    assert trainer.fit() is None
    spoiled(tmp_path / "run" / "checkpoint.safetensors", change)
    with pytest.raises(InputError, match=message):
        Trainer(small_config(), tmp_path / "run", digits, resume=True)


def test_a_pipe_in_place_of_a_checkpoint_and_a_nested_configuration(digits, tmp_path):
    Trainer(small_config(), tmp_path / "run", digits).fit()
    checkpoint_file, config_file = (tmp_path / "run" / name for name in ("checkpoint.safetensors", "config.json"))
    checkpoint_file.unlink()
    os.mkfifo(checkpoint_file)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is no file"):
        open_run(tmp_path / "run", dataset=digits)
    config_file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        open_run(tmp_path / "run", dataset=digits)
