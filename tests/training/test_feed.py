"""Where batches come from: images and recordings alike, step by step, and the same again after a run was stopped."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from polystep_snn.cli.main import main
from polystep_snn.datasets import Dataset, Framing
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.config import EVENT_OPTIONS
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.nmnist import load_nmnist
from polystep_snn.errors import InputError
from polystep_snn.hardware.backend import open_backend
from polystep_snn.profiling import measure, sample_shape
from polystep_snn.snn.encoders import DirectCurrent, Poisson, Rate, make_encoder
from polystep_snn.snn.frames import Constant
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training.build import build_augmentation, build_bptt, build_cost, build_framing, build_network, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.deploy import deploy, verify
from polystep_snn.training.feed import EventFeed, ImageFeed, make_feed, to_tensors
from polystep_snn.training.metrics import evaluate, firing_rates
from polystep_snn.training.recipes import RECIPES, recipe
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer
from tests.training.test_trainer import StopAt, final

CPU = torch.device("cpu")
SHAPE = (2, 6, 5)
NUM_STEPS = 12


def recordings(n, seed=0, counts=False, num_steps=NUM_STEPS):
    """Random recordings of 40 events; those of class k have half of them in column k."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = np.where(np.arange(40) < 20, labels[:, None], generator.integers(0, SHAPE[2], (n, 40)))
    steps = np.sort(generator.integers(0, num_steps, (n, 40)), 1)
    channels = generator.integers(0, SHAPE[0] * SHAPE[1], (n, 40)) * SHAPE[2] + x
    ends = 40 * np.arange(1, n + 1)
    flat = (array.astype(np.uint16).ravel() for array in (steps, channels))
    return EventSamples(labels, *flat, ends - 40, ends, np.arange(n), num_steps, SHAPE, counts)


@pytest.fixture(scope="module")
def blinks():
    """A data set of recordings in three classes."""
    return Dataset("blinks", recordings(60), recordings(15, 1), recordings(15, 2), 3, ("left", "middle", "right"), "generated")


def event_config(**changes):
    """A short run on them, with every kind of augmentation."""
    return TrainConfig(
        **{
            "dataset": "blinks",
            "encoder": "events",
            "hidden": (20,),
            "num_steps": NUM_STEPS,
            "epochs": 3,
            "batch_size": 8,
            "windows": 4,
            "shift": 1,
            "jitter": 0.3,
            "time_jitter": 0.5,
            "drop": 0.1,
            "threads": 1,
            "device": "cpu",
            "compile": False,
            **changes,
        }
    )


# Feeds


def test_images_come_through_the_encoder(digits):
    images, labels = to_tensors(digits.train, CPU)
    feed = ImageFeed(digits.train, Poisson(5), CPU)
    indices = torch.tensor([7, 0, 1200])
    frames, y = feed.batch(indices, 3, torch.Generator().manual_seed(1))
    expected = torch.stack(list(Poisson(5)(images[indices], torch.Generator().manual_seed(1))))
    assert torch.equal(torch.stack(list(frames)), expected)
    assert torch.equal(y, labels[indices])
    assert (len(feed), feed.num_inputs, len(frames)) == (1257, 64, 5)
    assert isinstance(ImageFeed(digits.train, DirectCurrent(5), CPU).batch(indices)[0], Constant)
    assert ImageFeed(digits.train, make_encoder("population", 5), CPU).num_inputs == 256


@pytest.mark.parametrize("augmentation", [None, Augmentation(shift=2, jitter=0.5, drop=0.2, seed=9)])
@pytest.mark.parametrize("counts", [False, True])
def test_recordings_come_as_their_frames(augmentation, counts):
    samples = recordings(9, counts=counts)
    feed = EventFeed(samples, CPU, augmentation)
    indices = torch.tensor([8, 2, 2, 5])
    frames, labels = feed.batch(indices, epoch=4)
    assert (len(feed), feed.num_inputs, len(frames)) == (9, 60, NUM_STEPS)
    assert labels.tolist() == [2, 2, 2, 2]
    assert labels.dtype == torch.int64
    found = torch.stack(list(frames))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), samples.frames(indices.numpy(), augmentation, 4))
    assert bool((found > 1).any()) == counts


def test_a_recording_is_changed_by_its_epoch_and_by_nothing_else():
    feed = EventFeed(recordings(9), CPU, Augmentation(shift=2, drop=0.3, seed=1))

    def frames(indices, epoch):
        return torch.stack(list(feed.batch(torch.tensor(indices), epoch)[0]))

    alone = frames([4], 2)
    assert torch.equal(frames([8, 4, 1], 2)[:, 1:2], alone)
    assert not torch.equal(frames([4], 3), alone)


def test_what_a_run_feeds(digits, blinks):
    feed = make_feed(event_config(), blinks.train, training=True)
    assert feed.augmentation == Augmentation(shift=1, jitter=0.3, time_jitter=0.5, drop=0.1, seed=0)
    assert make_feed(event_config(), blinks.train).augmentation is None
    assert isinstance(make_feed(TrainConfig("digits", encoder="rate", device="cpu"), digits.test).encoder, Rate)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (event_config(encoder="rate", shift=0, jitter=0, time_jitter=0, drop=0), "encoder is 'rate', but blinks holds event recordings"),
        (event_config(num_steps=10), "framed with 12 steps and counts False, but the configuration says 10 and False"),
        (event_config(counts=True), "but the configuration says 12 and True"),
    ],
)
def test_recordings_that_do_not_fit_the_configuration(blinks, config, message):
    with pytest.raises(InputError, match=message):
        make_feed(config, blinks.train)


def test_images_are_no_events(digits):
    with pytest.raises(InputError, match="encoder is 'events', but digits holds images"):
        make_feed(TrainConfig("digits", encoder="events", device="cpu"), digits.train)
    with pytest.raises(InputError, match="digits holds ndarray: give Samples or EventSamples"):
        make_feed(TrainConfig("digits", device="cpu"), digits.train.images)


# Measures


@pytest.mark.parametrize("limit", [None, 4])
def test_scores_are_those_of_the_frames(blinks, limit):
    config = resolve(event_config())
    network, feed, cost = build_network(config, SHAPE, 3), make_feed(config, blinks.test), build_cost(config)
    frames = torch.from_numpy(blinks.test.frames(np.arange(15)[:limit])).float()
    output, _ = network(frames)
    labels = torch.from_numpy(blinks.test.labels[:limit])
    score = evaluate(network, feed, cost, limit, batch_size=4)
    assert torch.equal(score.predictions, output.argmax(1))
    assert score.accuracy == (output.argmax(1) == labels).double().mean()
    assert score.loss == pytest.approx(cost(output.T, labels).mean().item())
    rate, state = torch.zeros(20), network.initial_state(len(labels))
    for frame in frames:
        (z,), state = network.step(frame, state)
        rate += z.mean(0) / NUM_STEPS
    assert torch.allclose(firing_rates(network, feed, limit)[0], rate)


# Configurations


def test_the_framing_of_a_run():
    config = TrainConfig("nmnist", encoder="events", num_steps=20, window_us=105_000, bin_by="count", crop=(1, 2, 30, 31), polarity=False)
    assert build_framing(config) == Framing(20, 105_000, "count", crop=(1, 2, 30, 31), polarity=False)
    assert build_framing(TrainConfig("nmnist", encoder="events", num_steps=30)) == Framing()
    assert build_framing(TrainConfig("mnist")) is None
    assert not build_augmentation(TrainConfig("mnist")).changes
    assert sample_shape(config) == (1, 31, 30)


def test_a_data_sets_recipe_counts_more_than_a_neurons():
    assert recipe("mnist", "loihi") == {"weight_bits": 8, "encoder": "rate", "num_steps": 16}
    chip = recipe("nmnist", "loihi")
    assert chip == {"weight_bits": 8, **RECIPES["nmnist"]}
    config = TrainConfig("nmnist", neuron="loihi", **chip)
    assert (config.data.encoder, config.data.num_steps, config.network.hidden) == ("events", 30, (128,))


def test_a_space_counts_more_than_a_data_set():
    """Radius, temperature and learning rate of node space are in other units."""
    for dataset in RECIPES:
        config = TrainConfig(dataset, space="weight", **recipe(dataset, space="weight"))
        assert (config.method.radius, config.method.polytope, config.method.eps, config.optimizer.lr, config.optimizer.weight_decay) == (
            0.5,
            "simplex",
            1.0,
            2e-2,
            0.0,
        )
    config = TrainConfig("nmnist", space="weight", **recipe("nmnist", space="weight"))
    assert (config.data.encoder, config.data.num_steps, config.method.windows, config.network.v_th, config.data.shift) == (
        "events",
        30,
        1,
        1.0,
        2,
    )
    assert recipe("nmnist", space="node") == RECIPES["nmnist"]


@pytest.mark.parametrize("name", EVENT_OPTIONS)
def test_event_options_have_no_meaning_for_images(name):
    value = {"bin_by": "count", "crop": (0, 0, 4, 4), "stabilize": True, "counts": True, "polarity": False, "window_us": 100}.get(name, 1)
    with pytest.raises(InputError, match=rf"{name} is .*, but the encoder 'rate' is for images, .* choose the encoder 'events'"):
        TrainConfig("mnist", encoder="rate", **{name: value})
    TrainConfig("nmnist", encoder="events", **{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": True, "neuron": "loihi", "weight_bits": 8}, "counts is True, but the neuron 'loihi' takes spikes, 0 or 1"),
        ({"crop": (1.5, 2)}, "give whole numbers"),
        ({"bin_by": "speed"}, "choose one of time, count"),
        ({"stabilize": 1}, "give a value of type bool"),
    ],
)
def test_event_options_that_describe_no_run(change, message):
    with pytest.raises(InputError, match=message):
        event_config(**change)


# Runs


def test_recordings_are_learned(blinks, tmp_path):
    summary = Trainer(event_config(epochs=12, lr=0.02, averaging=0.9, shift=0), tmp_path / "run", blinks).fit()
    assert summary["test_accuracy"] > 0.8  # 15 recordings: a third by chance, plus four standard errors
    assert summary["dataset"] == "blinks (generated)"


@pytest.mark.parametrize("neuron", ["lif", "loihi"])
@pytest.mark.parametrize("stops", [(1,), (3, 6), (20,)], ids=str)
def test_a_run_on_events_goes_on_bit_for_bit(blinks, tmp_path, stops, neuron):
    config = event_config(neuron=neuron, weight_bits=8 if neuron == "loihi" else 32)
    Trainer(config, tmp_path / "whole", blinks).fit()
    for k, stop in enumerate(stops):
        observer = StopAt(stop)
        run = observer.trainer = Trainer(config, tmp_path / "run", blinks, resume=k > 0, observer=observer)
        assert run.fit() is None
    Trainer(config, tmp_path / "run", blinks, resume=True).fit()
    assert final(tmp_path / "run") == final(tmp_path / "whole")


def test_epochs_differ_and_seeds_too(blinks, tmp_path):
    """What is augmented is seen anew in each epoch: without learning, the loss on the training batches moves."""
    still = event_config(lr=1e-12, weight_decay=0.0, batch_size=60, windows=1)
    losses = {}
    for name, config in (("plain", still.replace(shift=0, jitter=0.0, time_jitter=0.0, drop=0.0)), ("changed", still)):
        run = Trainer(config, tmp_path / name, blinks)
        run.fit()
        losses[name] = [round(m["train_loss"], 5) for m in run.position.history]
    assert len(set(losses["plain"])) == 1
    assert len(set(losses["changed"])) == 3


def test_backpropagation_takes_the_same_feed(blinks, tmp_path):
    summary = Trainer(event_config(epochs=8, lr=0.02, averaging=0.9, shift=0), tmp_path / "run", blinks, make_method=build_bptt).fit()
    assert summary["test_accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of memory can be reset on Linux only")
def test_memory_of_a_step_on_events_is_flat_in_time():
    config = TrainConfig("nmnist", threads=1, compile=False, **recipe("nmnist")).to_json()
    short, long = (measure("polystep", num_steps, config, 10)["peak_mb"] for num_steps in (30, 300))
    assert long < 1.05 * short


# The command line, on real recordings


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    """A short run of the chip's neuron on the real subset."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    out = tmp_path_factory.mktemp("nmnist") / "run"
    options = "--neuron loihi --epochs 2 --hidden 24 --num-steps 12 --windows 3 --threads 1 --no-compile"
    assert main(["train", "nmnist", "--out", str(out), *options.split()]) == 0
    return out


def last_json(capsys):
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_train_eval_plot_export_verify(real_run, tmp_path, capsys):
    title = "nmnist (subset: 1000 + 100 recordings)"
    summary = json.loads((real_run / "summary.json").read_text())
    assert summary["dataset"] == title
    assert summary["test_accuracy"] > 0.3  # 100 recordings: a tenth by chance, plus six standard errors
    capsys.readouterr()
    for backend in ("torch", "simulator"):
        assert main(["eval", str(real_run), "--backend", backend, "--json"]) == 0
        result, err = last_json(capsys)
        assert result["test_accuracy"] == summary["test_accuracy"]
        assert result["dataset"] == title
        assert title in err
    assert main(["verify", str(real_run), "--limit", "20", "--json"]) == 0
    result, _ = last_json(capsys)
    assert (result["samples"], result["differences"]) == (20, 0)
    assert result["spikes_compared"] == result["membranes_compared"] == 20 * 12 * (24 + 10)
    assert main(["plot", str(real_run), "--sample", "3", "--json"]) == 0
    figures = last_json(capsys)[0]["figures"]
    assert [os.path.basename(f) for f in figures] == ["curves.png", "activity.png", "rates.png", "confusion.png"]
    assert all(np.std(imread(figure)) > 0.02 for figure in figures)
    assert main(["export", str(real_run), "--format", "nir", "--out", str(tmp_path / "events.nir"), "--json"]) == 0
    assert last_json(capsys)[0]["sizes"] == [2312, 24, 10]


def test_the_deployed_networks_input_is_a_frame(real_run):
    integers = deploy(open_run(real_run)).integers
    assert (integers.encoder, integers.input_shape, integers.num_steps) == ("events", (2, 34, 34), 12)
    assert integers.provenance["dataset"] == "nmnist (subset: 1000 + 100 recordings)"


def test_numbers_of_events_are_no_spikes(real_run, blinks):
    opened = open_run(real_run)
    counted = opened._replace(config=opened.config.replace(neuron="lif", counts=True), network=SpikingNetwork([2312, 24, 10]))
    with pytest.raises(InputError, match="numbers of events, but the chip takes spikes: train without --counts"):
        deploy(counted)


@pytest.mark.slow
def test_no_spike_differs_on_lava(real_run, lava_python):
    opened = open_run(real_run)
    deployed = deploy(opened)
    with open_backend("lava", deployed.integers) as backend:
        found = verify(opened, deployed.network, backend, 50)
    assert (found.samples, found.differences) == (50, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train nmnist --encoder rate", "shift is 2, but the encoder 'rate' is for images"),
        ("train nmnist --counts --neuron loihi", "counts is True, but the neuron 'loihi' takes spikes"),
        ("train nmnist --window-us 10", "num_steps is 30 in a window of 10 µs"),
        ("train nmnist --crop 10 10 30 30", r"crop is \(10, 10, 30, 30\), but the sensor has 34 x 34 pixels"),
        ("train nmnist --crop 10 10", r"crop is \(10, 10\): give left, top, width and height"),
        ("train nmnist --shift 100", "shift is 100: give 0 to 64 pixels"),
        ("train nmnist --on-chip", "nmnist is not made of images, which --on-chip learns from"),
        ("train mnist --stabilize", "stabilize is True, but the encoder 'direct' is for images"),
        ("train mnist --encoder events", "encoder is 'events', but mnist holds images: choose another"),
    ],
)
def test_mistakes_take_one_line(tmp_path, capsys, arguments, message):
    assert main([*arguments.split(), "--out", str(tmp_path / "run"), "--no-compile"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


def test_folds_train_like_any_data_set(tmp_path):
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    config = TrainConfig("nmnist", **{**recipe("nmnist"), "epochs": 1, "hidden": (8,), "threads": 1, "compile": False})
    dataset = next(load_nmnist(framing=build_framing(config)).folds(5, 0))
    summary = Trainer(config, tmp_path / "run", dataset).fit()
    assert summary["dataset"] == "nmnist (subset: 1000 + 100 recordings; fold 1 of 5)"
