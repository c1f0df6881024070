"""Runs on sequences: spoken digits, images read row by row, one's own."""

import json
import re

import numpy as np
import pytest
import torch

from polystep_snn import PolyStep, Rows, SpikingNetwork
from polystep_snn.cli.main import main
from polystep_snn.datasets import Dataset, Sequences, SpeechFeatures
from polystep_snn.datasets.sequence_augment import SequenceAugmentation
from polystep_snn.errors import InputError
from polystep_snn.profiling import _random_samples, num_classes, sample_shape
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import SequenceFeed, make_feed
from polystep_snn.training.recipes import recipe
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer
from tests.commands import answers, assert_drawn, trained
from tests.datasets.spoken_files import write_folder

CPU = torch.device("cpu")


def own_rows(digits) -> Dataset:
    """The embedded digits as sequences of rows."""
    parts = (part.rows() for part in (digits.train, digits.validation, digits.test))
    return Dataset("own", *parts, 10, digits.classes)


def test_sequences_come_time_first(digits):
    rows = digits.train.rows()
    feed = SequenceFeed(rows, CPU)
    frames, labels = feed.batch(torch.tensor([7, 0]))
    assert (len(feed), feed.num_inputs, len(frames)) == (1257, 8, 8)
    expected = torch.stack(list(Rows(8)(torch.from_numpy(digits.train.images[[7, 0]].astype(np.float32)).flatten(1) / 16)))
    assert torch.equal(torch.stack(list(frames)), expected)
    assert labels.tolist() == digits.train.labels[[7, 0]].tolist()


def test_training_sequences_are_changed_and_others_are_not(digits):
    dataset = own_rows(digits)
    config = TrainConfig("own", encoder="sequence", num_steps=8, time_shift=2, pitch=1, seed=3, device="cpu")
    training, other = make_feed(config, dataset.train, training=True), make_feed(config, dataset.train)
    indices = torch.tensor([4, 9])
    expected = SequenceAugmentation(time_shift=2, pitch=1, seed=3).frames(dataset.train, indices.numpy(), 5)
    assert np.array_equal(torch.stack(list(training.batch(indices, 5)[0])).numpy(), expected)
    assert np.array_equal(torch.stack(list(other.batch(indices, 5)[0])).numpy(), dataset.train.frames(indices.numpy()))


def test_events_stay_zeros_and_ones():
    spikes = Sequences((np.random.default_rng(0).random((5, 12, 8)) < 0.5).astype(np.uint8), np.arange(5), num_groups=2)
    feed = SequenceFeed(spikes, CPU, SequenceAugmentation(stretch=1.0))
    frames = torch.stack(list(feed.batch(torch.arange(5), 1)[0]))
    assert frames.dtype == torch.float32
    assert frames.unique().tolist() == [0, 1]


def test_a_run_on_rows_is_a_run_on_sequences_of_rows(digits, tmp_path):
    """The encoder 'rows' and one's own sequences are the same numbers, so the same weights come out."""
    options = {
        "hidden": 16,
        "num_steps": 8,
        "windows": 2,
        "epochs": 3,
        "batch_size": 48,
        "lr": 1e-2,
        "compile": False,
        "threads": 1,
        "device": "cpu",
    }
    Trainer(TrainConfig("digits", encoder="rows", **options), tmp_path / "rows", digits).fit()
    Trainer(TrainConfig("own", encoder="sequence", **options), tmp_path / "own", own_rows(digits)).fit()
    rows, own = open_run(tmp_path / "rows"), open_run(tmp_path / "own", dataset=own_rows(digits))
    assert rows.network.sizes == [8, 16, 10]
    for ours, theirs in zip(own.network.parameters(), rows.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert rows.evaluate().accuracy > 0.3


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(digits, tmp_path):
    options = {"hidden": 8, "num_steps": 8, "epochs": 2, "batch_size": 300, "time_shift": 2, "stretch": 0.2, "compile": False, "threads": 1}
    config = TrainConfig("own", encoder="sequence", device="cpu", **options)
    Trainer(config, tmp_path / "whole", own_rows(digits)).fit()
    run = Trainer(config, tmp_path / "run", own_rows(digits))
    run.stop_requested = True
    assert run.fit() is None
    Trainer(config, tmp_path / "run", own_rows(digits), resume=True).fit()
    whole, resumed = (open_run(tmp_path / name, dataset=own_rows(digits)).network for name in ("whole", "run"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_from_python():
    """A plain loop over arrays: two rhythms are told apart."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=64)
    values = (generator.random((64, 10, 6)) < np.where(labels, 0.1, 0.6)[:, None, None]).astype(np.uint8)
    samples = Sequences(values, labels)
    network = SpikingNetwork([6, 12, 2], generator=torch.Generator().manual_seed(0))
    polystep = PolyStep(network, compile=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    frames, target = torch.from_numpy(samples.frames(np.arange(64))).float(), torch.from_numpy(labels)
    for _ in range(30):
        polystep.step(frames, target)
        optimizer.step()
    assert (network(frames)[0].argmax(1) == target).float().mean() > 0.95


@pytest.fixture(scope="module", params=["energies", "chip"])
def run(request, tmp_path_factory):
    """A short run on whistled digits, in floating point on energies, or with the chip's neuron on events."""
    folder = tmp_path_factory.mktemp("spoken")
    write_folder(folder / "data" / "FSDD" / "recordings")
    neuron = "--neuron loihi" if request.param == "chip" else ""
    options = f"{neuron} --epochs 30 --hidden 24 --num-steps 20 --windows 2 --bands 16 --averaging 0.9 --batch-size 8 --threads 1"
    with trained("spoken-digits", folder, f"{options} --no-compile --pitch 0") as run:
        yield run, request.param == "chip"


def test_train_eval_plot_verify_export(run, tmp_path, capsys):
    run, on_chip = run
    summary, config = (json.loads((run / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert summary["dataset"] == "spoken-digits (subset: 240 of 3000 recordings, 2 speakers)"
    assert summary["test_accuracy"] > 0.5
    assert (config["features"], config["encoder"]) == ("events" if on_chip else "energies", "sequence")
    answer = answers(capsys)
    assert answer("eval", run)["test_accuracy"] == summary["test_accuracy"]
    assert_drawn(answer, run)
    if not on_chip:
        assert main(["export", str(run), "--out", str(tmp_path / "n")]) == 2
        assert "the run's sequences are currents, but the chip takes spikes: train with --features events" in capsys.readouterr().err
        return
    assert answer("eval", run, "--backend", "simulator")["test_accuracy"] == summary["test_accuracy"]
    found = answer("verify", run, "--limit", 20)
    assert (found["spikes_compared"], found["differences"]) == (20 * 20 * (24 + 10), 0)
    assert answer("export", run, "--format", "nir", "--out", tmp_path / "n.nir")["sizes"] == [32, 24, 10]


def test_the_recipes_and_what_is_profiled():
    config = TrainConfig("spoken-digits", **recipe("spoken-digits"))
    assert config.data.speech_features() == SpeechFeatures()
    assert (sample_shape(config), num_classes(config)) == ((1, 1, 32), 10)
    assert _random_samples(config, 10).values.dtype == np.float32
    chip = TrainConfig("spoken-digits", neuron="loihi", **recipe("spoken-digits", "loihi"))
    assert chip.data.speech_features() == SpeechFeatures(kind="events")
    assert sample_shape(chip) == (2, 1, 32)
    assert _random_samples(chip, 10).holds_spikes
    assert (chip.data.gives_currents, config.data.gives_currents) == (False, True)
    for name, rows in (("mnist", 28), ("fashion-mnist", 28), ("digits", 8)):
        assert recipe(name, encoder="rows")["num_steps"] == rows
        TrainConfig(name, encoder="rows", **recipe(name, encoder="rows"))
        assert "num_steps" not in recipe(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("spoken-digits --speaker eve", "speaker is 'eve', but the recordings are of ann, bob"),
        ("spoken-digits --features mel", "invalid choice: 'mel'"),
        ("spoken-digits --bands 100", "bands is 100: give a whole number from 4 to 64"),
        ("spoken-digits --step-ms 40", "step_ms is 40.0: give 1 to 32 ms"),
        ("spoken-digits --stretch 2", "stretch is 2.0: give a fraction from 0 to 1"),
        ("spoken-digits --counts", "counts is True, but features is 'energies': choose events"),
        ("spoken-digits --window-us 5", "window_us is 5, but sequences are not framed: leave it out"),
        ("spoken-digits --shift 3", "shift is 3, but sequences are not framed"),
        ("spoken-digits --encoder rate", "encoder is 'rate', but spoken-digits holds sequences: choose 'sequence'"),
        ("spoken-digits --neuron loihi --features energies", "features is 'energies', but the neuron 'loihi' takes spikes: choose events"),
        ("spoken-digits --hidden 8c5", "."),
        ("mnist --speaker ann", "speaker is 'ann', but the encoder 'direct' takes no sequences: leave it out"),
        ("mnist --encoder sequence", "encoder is 'sequence', but mnist holds images: choose another one"),
        ("nmnist --pitch 2", "pitch is 2, but the encoder 'events' takes no sequences"),
        (
            "mnist --encoder rows --num-steps 15",
            "num_steps is 15, but the encoder 'rows' reads the 784 pixels of mnist in steps of",
        ),
        ("digits --encoder rows --neuron loihi", "encoder is 'rows', but the neuron 'loihi' takes spikes"),
        ("digits --encoder rows --hidden 4c3", "encoder is 'rows', which does not give every pixel one input"),
    ],
)
def test_mistakes_take_one_line(tmp_path, capsys, cache, arguments, message):
    write_folder(tmp_path / "data" / "FSDD" / "recordings", indices=1)
    command = ["train", *arguments.split(), "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--no-compile"]
    if "invalid choice" in message:
        with pytest.raises(SystemExit):
            main(command)
        assert message in capsys.readouterr().err
        return
    assert main(command) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder": "rows"}, "encoder is 'rows', but own holds sequences: choose 'sequence'"),
        ({"encoder": "sequence", "num_steps": 10}, "the sequences have 8 steps, but num_steps is 10|configuration says 10"),
    ],
)
def test_sequences_that_do_not_fit_the_configuration(digits, config, message):
    with pytest.raises(InputError, match=message):
        make_feed(TrainConfig("own", device="cpu", **config), own_rows(digits).train)
    with pytest.raises(InputError, match="bands is 16, but own holds no speech: leave it out"):
        TrainConfig("own", encoder="sequence", bands=16)
