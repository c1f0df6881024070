"""The trained networks that come with the package: they are what their cards say, and commands open them by name."""

import importlib.metadata
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from polystep_snn import pretrained, pretrained_names
from polystep_snn.cli.main import main
from polystep_snn.errors import InputError
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.trained_networks import FOLDER
from polystep_snn.training.run_folder import open_run

NAMES = ["digits-int8", "mnist-conv-int8", "mnist-int8", "nmnist-subset", "spoken-digits-recurrent"]
SIZES = {
    "digits-int8": [64, 128, 10],
    "mnist-int8": [784, 128, 10],
    "mnist-conv-int8": [784, 2304, 512, 10],
    "nmnist-subset": [2312, 128, 10],
    "spoken-digits-recurrent": [64, 128, 10],
}
# Where each one's data lies below $POLYSTEP_SNN_DATA; the digits are embedded.
DATA = {"mnist-int8": "MNIST", "mnist-conv-int8": "MNIST", "nmnist-subset": "NMNIST", "spoken-digits-recurrent": "FSDD"}
ROOT = Path(__file__).parents[1]


def test_their_names():
    assert pretrained_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_network_and_its_card(name):
    network, card = pretrained(name)
    assert network.sizes == SIZES[name]
    assert network.classes == tuple("0123456789")
    assert (card.name, card.folder) == (name, FOLDER / name)
    assert network.provenance["val_accuracy"] == card.val_accuracy == max(card.val_accuracy_by_seed.values())
    assert network.provenance["epoch"] == card.epoch
    assert network.provenance["dataset"] == card.dataset
    assert f"--seed {network.provenance['seed']}" in card.command
    assert card.data_licence
    assert card.licence == "Apache-2.0"


def test_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 2e6


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if "conv" in name else ()) for name in NAMES])
def test_the_stated_accuracy(name):
    if name in DATA and not (Path(os.environ.get("POLYSTEP_SNN_DATA", "/nowhere")) / DATA[name]).is_dir():
        pytest.skip(f"POLYSTEP_SNN_DATA is not set, or holds no {DATA[name]}")
    card, run = pretrained(name).card, open_run(Path(name))
    if run.dataset.title != card.dataset:
        pytest.skip(f"here is {run.dataset.title}, the card speaks of {card.dataset}")
    found = run.evaluate()
    assert len(found.predictions) == card.test_samples
    assert found.accuracy == card.test_accuracy


def test_digits_in_numpy_alone(digits):
    network, card = pretrained("digits-int8")
    images = digits.test.images.reshape(-1, 64).astype(np.float32) / digits.test.full_scale
    decided = Simulator(network).run(encode(network.encoder, network.num_steps, images)).argmax(1)
    assert (decided == digits.test.labels).mean() == card.test_accuracy


@pytest.mark.parametrize(("name", "least"), [("mnist-int8", 0.6), ("mnist-conv-int8", 0.6)])
def test_networks_of_mnist_know_the_embedded_digits(digits, name, least):
    """Smaller images by other people, enlarged: far from what they were trained on, and far above one in ten."""
    images = torch.from_numpy(digits.test.images / np.float32(digits.test.full_scale))
    large = torch.nn.functional.interpolate(images[:, None], size=(20, 20), mode="bilinear").clamp(0, 1)
    padded = torch.nn.functional.pad(large, (4, 4, 4, 4)).flatten(1).numpy()
    network = pretrained(name).network
    decided = Simulator(network).run(encode(network.encoder, network.num_steps, padded)).argmax(1)
    assert (decided == digits.test.labels).mean() > least


def test_an_unknown_name():
    with pytest.raises(InputError, match=re.escape(f"there is no trained network 'mnist': choose one of {', '.join(NAMES)}")):
        pretrained("mnist")


@pytest.fixture
def changed(monkeypatch, tmp_path):
    """A copy of a network's folder that may be changed, where the package looks."""
    shutil.copytree(FOLDER / "digits-int8", tmp_path / "zoo" / "digits-int8")
    monkeypatch.setattr("polystep_snn.trained_networks.FOLDER", tmp_path / "zoo")
    return tmp_path / "zoo" / "digits-int8"


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl", "network.safetensors"])
def test_a_file_that_was_changed(changed, file):
    content = bytearray((changed / file).read_bytes())
    content[-3] ^= 1
    (changed / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file} is missing or was changed: install polystep-snn again"):
        pretrained("digits-int8")


def test_integers_of_another_configuration(changed):
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"beta": 0.9}))
    with pytest.raises(InputError, match=r"network\.safetensors is not the network that its config\.json describes"):
        open_run(changed)


def test_commands_open_them_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")}

    def answer(command):
        assert main([*command.split(), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    accuracy = pretrained("digits-int8").card.test_accuracy
    assert answer("eval digits-int8")["test_accuracy"] == accuracy
    assert answer("eval digits-int8 --backend simulator")["test_accuracy"] == accuracy
    assert answer("verify digits-int8 --limit 50")["differences"] == 0
    assert answer("export digits-int8 --out network.safetensors")["sizes"] == [64, 128, 10]
    assert answer("adapt digits-int8 --shift noise:0.3 --samples 300 --out learned")["clean_accuracy_before"] == accuracy
    assert len(answer("plot digits-int8 --out figures")["figures"]) == 4
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")} == before
    assert main(["plot", "digits-int8"]) == 2
    assert "nothing is written: name a folder with --out" in capsys.readouterr().err
    assert main(["export", "digits", "--out", "x"]) == 2
    assert f"or a trained network: {', '.join(NAMES)}" in capsys.readouterr().err


def test_a_folder_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-int8").mkdir()
    with pytest.raises(InputError, match="digits-int8 holds no run"):
        open_run(Path("digits-int8"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_what_was_shipped(cache, tmp_path, monkeypatch, name):
    """Without any data."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", name, "--out", "exported"]) == 0
    assert (tmp_path / "exported").read_bytes() == (FOLDER / name / "network.safetensors").read_bytes()


def test_the_first_python_example_of_the_readme():
    """As it is printed; of an installed package, whose metadata holds the README."""
    here = ROOT / "README.md"
    text = here.read_text() if here.is_file() else importlib.metadata.metadata("polystep-snn").get_payload()
    names: dict = {}
    exec(compile(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], "README.md", "exec"), names)
    assert (names["output"].argmax(1) == names["labels"]).double().mean() > 0.93
