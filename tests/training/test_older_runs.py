"""A run that version 0.1.0 has written, stopped in its second epoch of three: it opens, and goes on bit for bit."""

import hashlib
import shutil
from functools import partial
from pathlib import Path

import pytest

from polystep_snn import InputError, Trainer
from polystep_snn.files import read_json
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.run_folder import open_run

RUN = Path(__file__).parent / "written_by" / "0.1.0"
# Of all weights after version 0.1.0 had finished the run, and the accuracy that it reported.
FINISHED, ACCURACY = "4aa358d62abac58ed9da16826593a3c3b3fc413bc7a940c2e25b5b1e58a49a54", 0.8944444444444445


def test_it_opens():
    opened = open_run(RUN)
    assert opened.best["epoch"] == 1
    assert opened.evaluate().accuracy > 0.5
    options = {
        "hidden": 16,
        "lr": 0.02,
        "epochs": 3,
        "batch_size": 64,
        "compile": False,
        "threads": 1,
        "seed": 3,
        "device": "cpu",
        "credit": "exact",
    }
    assert opened.config == TrainConfig("digits", **options)


def test_it_goes_on(tmp_path, digits):
    shutil.copytree(RUN, tmp_path / "run")
    config = TrainConfig.from_json(read_json(RUN / "config.json"))
    trainer = Trainer(config, tmp_path / "run", digits, resume=True)
    assert trainer.fit()["test_accuracy"] == pytest.approx(ACCURACY, abs=0.012)
    found = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trainer.network.parameters())).hexdigest()
    if found != FINISHED:
        pytest.skip("another CPU rounds sums in another way: the accuracy was compared, not the bits")


@pytest.mark.parametrize("name", ["best", "model", "average", "optimizer", "totals"])
def test_a_type_that_was_changed_is_refused_though_its_checksum_does_not_see_it(tmp_path, digits, name):
    shutil.copytree(RUN, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].decode()
    where = header.index('"F32"', header.index(f'"{name}.'))
    header = header[:where] + '"I32"' + header[where + 5 :]
    path.write_bytes(content[:8] + header.encode() + content[8 + length :])
    config = TrainConfig.from_json(read_json(RUN / "config.json"))
    read = partial(open_run, tmp_path / "run") if name == "best" else partial(Trainer, config, tmp_path / "run", digits, resume=True)
    with pytest.raises(InputError, match=r"is damaged \(.* is int32 instead of float32"):
        read()
