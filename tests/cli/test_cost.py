"""``polystep-snn cost``: what it prints is what happens on the chip, of runs and of files, and mistakes take one line."""

import json

import nir
import numpy as np
import pytest
from matplotlib.image import imread

from polystep_snn.cli.main import main
from polystep_snn.hardware import network_file
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.formats import nir as own_nir
from polystep_snn.hardware.simulator import Simulator
from tests.snn.nir_graphs import graph_of, snntorch_graph

QUICK = ["--hidden", "20", "--epochs", "2", "--lr", "0.02", "--threads", "1", "--no-compile", "--num-steps", "8"]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A run on the digits, in the chip's integers."""
    folder = tmp_path_factory.mktemp("cost") / "run"
    assert main(["train", "digits", "--out", str(folder), "--neuron", "loihi", *QUICK]) == 0
    return folder


@pytest.fixture
def cost(capsys):
    """A function that gives the command and returns its JSON and what it says."""

    def answer(*arguments):
        capsys.readouterr()
        assert main(["cost", *map(str, arguments), "--json"]) == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 1
        return json.loads(out), err

    return answer


def spikes_of(network, digits):
    images = digits.test.images.astype(np.float32) / digits.test.full_scale
    return encode(network.encoder, network.num_steps, images.reshape(len(images), -1))


def assert_is_of(found, network, spikes):
    """The numbers of a dense network, from a recording of its own."""
    hidden, _ = Simulator(network).record(spikes).layers
    per_input = [spikes.sum((0, 1), dtype=int), hidden.z.sum((0, 1), dtype=int)]
    operations = [x @ (layer.weight != 0).sum(0) / spikes.shape[1] for x, layer in zip(per_input, network.layers, strict=True)]
    assert [layer["synaptic_operations"] for layer in found["layers"]] == pytest.approx(operations, rel=1e-12)
    assert found["synaptic_operations"] == pytest.approx(sum(operations), rel=1e-12)
    assert found["input_spikes"] == spikes.sum() / spikes.shape[1]
    assert found["spikes"] == hidden.z.sum() / spikes.shape[1]
    assert found["neuron_updates"] == network.num_steps * sum(network.sizes[1:])
    assert found["energy_nj"] > sum(operations) * 23.6e-3
    assert found["energy_nj"] == pytest.approx(sum(layer["energy_nj"] for layer in found["layers"]))
    assert found["latency_ms"] > 0


def test_a_run(deployed, digits, cost):
    found, said = cost(deployed)
    network = network_file.load(deployed / "network.safetensors")
    spikes = spikes_of(network, digits)
    assert_is_of(found, network, spikes)
    assert found["samples"] == len(digits.test)
    assert found["accuracy"] == (Simulator(network).run(spikes).argmax(1) == digits.test.labels).mean()
    assert not found["quantized"]
    assert found["figure"] == str(deployed / "figures" / "cost.png")
    assert np.std(imread(found["figure"])) > 0.02
    assert f"{found['synaptic_operations']:,.0f}" in said
    assert "Nothing is published of Loihi 2; Loihi 1 stands in for it" in said
    assert "Davies et al." in said
    assert "Horowitz" in said
    assert all(constant["source"] in found["sources"] for constant in found["constants"].values())


def test_a_limit(deployed, digits, cost):
    found, _ = cost(deployed, "--limit", 7)
    network = network_file.load(deployed / "network.safetensors")
    assert found["samples"] == 7
    assert_is_of(found, network, spikes_of(network, digits)[:, :7])


def test_a_run_in_floating_point_is_quantized(tmp_path, digits, cost, capsys):
    assert main(["train", "digits", "--out", str(tmp_path / "run"), "--encoder", "rate", *QUICK]) == 0
    found, said = cost(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "chip.safetensors")]) == 0
    network = network_file.load(tmp_path / "chip.safetensors")
    assert_is_of(found, network, spikes_of(network, digits))
    assert found["quantized"]
    assert "its weights quantized afterwards, as `export` does" in said


@pytest.mark.parametrize("ending", [".safetensors", ".nir"])
def test_files_of_ours(deployed, digits, cost, tmp_path, ending):
    network, path = network_file.load(deployed / "network.safetensors"), tmp_path / f"digits{ending}"
    (network_file.save if ending == ".safetensors" else own_nir.write)(path, network)
    spikes = spikes_of(network, digits)
    found, _ = cost(path, "--data", "digits")
    assert_is_of(found, network, spikes)
    assert found["accuracy"] > 0.3, "three times chance"
    np.save(tmp_path / "spikes.npy", spikes)
    other, _ = cost(path, "--data", tmp_path / "spikes.npy")
    assert other["accuracy"] is None
    assert other["layers"] == found["layers"]


def test_a_nir_file_of_another_program(tmp_path, cost):
    path = tmp_path / "snntorch.nir"
    nir.write(path, snntorch_graph(size=(20, 30, 5)))
    spikes = (np.random.default_rng(0).random((9, 5, 20)) < 0.4).astype(np.uint8)
    np.save(tmp_path / "spikes.npy", spikes)
    found, said = cost(path, "--data", tmp_path / "spikes.npy")
    assert found["quantized"]
    assert found["input_spikes"] == spikes.sum() / 5
    assert found["num_steps"] == 9
    assert found["multiply_accumulates"] == 9 * (20 * 30 + 30 * 5)
    assert "quantized afterwards" in said
    assert main(["cost", str(path), "--data", "digits"]) == 2


def test_a_nir_file_with_a_convolution(tmp_path, cost):
    rng = np.random.default_rng(0)
    kernel = nir.Conv2d((6, 6), rng.uniform(-0.3, 0.6, (2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2))
    neurons = [nir.IF(r=np.full(n, 1e4), v_threshold=np.ones(n), v_reset=np.zeros(n)) for n in ((2, 4, 4), 3)]
    flat = nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1)
    graph = graph_of(kernel, neurons[0], flat, nir.Linear(rng.uniform(-0.5, 0.7, (3, 32))), neurons[1])
    nir.write(tmp_path / "maps.nir", graph)
    np.save(tmp_path / "spikes.npy", rng.random((5, 4, 36)) < 0.4)
    found, _ = cost(tmp_path / "maps.nir", "--data", tmp_path / "spikes.npy")
    assert [layer["synapses"] for layer in found["layers"]] == [2 * 16 * 9, 32 * 3]
    assert found["spikes"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{run} --limit 0", "--limit is 0: choose at least 1"),
        ("{run} --data digits", "has data of its own: leave it out"),
        ("{tmp}/nothing.safetensors --data digits", "nothing.safetensors"),
        ("{tmp}/nothing.net --data digits", "give one that ends in .safetensors or .nir"),
        ("{run}/network.safetensors", "has no data of its own: name some with --data"),
        ("{run}/network.safetensors --data other", "there is no data set 'other'"),
        ("{run}/network.safetensors --data {tmp}/none.npy", "none.npy cannot be read"),
        ("{run}/network.safetensors --data {tmp}/pickled.npy", "pickled.npy cannot be read"),
        ("{run}/network.safetensors --data {tmp}/flat.npy", "give spikes [steps, samples, inputs]"),
        ("{run}/network.safetensors --data {tmp}/short.npy", "the network takes 8 of 64: encode the data as in training"),
    ],
)
def test_mistakes_take_one_line(deployed, tmp_path, capsys, arguments, message):
    np.save(tmp_path / "pickled.npy", np.array([{}, 1], object), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.zeros((3, 4), np.uint8))
    np.save(tmp_path / "short.npy", np.zeros((3, 4, 64), np.uint8))
    capsys.readouterr()
    assert main(["cost", *arguments.format(run=deployed, tmp=tmp_path).split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line


def test_a_price_on_spikes_makes_an_inference_cheaper(deployed, cost, tmp_path):
    assert main(["train", "digits", "--out", str(tmp_path / "dear"), "--neuron", "loihi", "--spike-price", "0.1", *QUICK]) == 0
    found, cheaper = (cost(folder)[0] for folder in (deployed, tmp_path / "dear"))
    assert cheaper["spikes"] < 0.7 * found["spikes"]
    assert cheaper["layers"][1]["synaptic_operations"] < 0.7 * found["layers"][1]["synaptic_operations"]
    assert cheaper["energy_nj"] < found["energy_nj"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--space weight", "spike_price is 0.01, but the space 'weight' has no such option"),
        ("--on-chip", "spike-price has no meaning with --on-chip"),
        ("--readout-decay 0.9", "firing rates have a cost, but before a readout that keeps 0.9 of its membrane"),
    ],
)
def test_where_spikes_have_no_price(tmp_path, capsys, options, message):
    assert main(["train", "digits", "--out", str(tmp_path / "run"), "--spike-price", "0.01", *options.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
