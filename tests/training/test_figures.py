"""What figures show is what is in the arrays they are made of."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn import plots
from polystep_snn.cli.main import main
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.training import figures
from polystep_snn.training.activity import activity_of, answers_to_test_part, rates_of
from polystep_snn.training.deploy import deploy, encoded
from polystep_snn.training.run_folder import open_run
from tests import own_data

QUICK = ["--hidden", "8", "--epochs", "2", "--batch-size", "16", "--no-compile", "--threads", "1"]


def axes_of(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def in_both(make, folder, *options):
    """A run in the chip's integers, and what its folder would be if torch could not represent them."""
    assert main(["train", str(make(folder / "x.npz")), "--out", str(folder / "run"), *QUICK, "--neuron", "loihi", *options]) == 0
    run = open_run(folder / "run")
    return run, replace(run, latent=None, integers=deploy(run).integers)


def test_the_simulator_shows_what_torch_shows(tmp_path):
    run, alone = in_both(own_data.images, tmp_path)
    ours, theirs = activity_of(run, 2), activity_of(alone, 2)
    assert ours.target == theirs.target == run.dataset.test.labels[2]
    for name in ("inputs", "readout"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    for name in ("spikes", "membranes", "thresholds"):
        assert np.array_equal(getattr(ours, name)[0], getattr(theirs, name)[0]), name
    assert ours.spikes[0].any()
    assert np.array_equal(*(answers_to_test_part(x)[0].found.predictions for x in (run, alone)))
    np.testing.assert_allclose(rates_of(run)[0], rates_of(alone)[0], rtol=1e-5)
    spikes = next(encoded(run, run.dataset.test))[0].numpy()
    recorded = Simulator(alone.integers).record(spikes)
    np.testing.assert_allclose(rates_of(alone)[0], recorded.layers[0].z.mean((0, 1)), rtol=1e-12)
    found = figures.figures_of(alone, 2)
    assert list(found) == ["curves", "activity", "rates", "confusion"]


def test_the_simulator_answers_real_targets_as_torch_does(tmp_path):
    run, alone = in_both(own_data.spike_values, tmp_path, "--encoder", "sequence", "--cost", "mse")
    ours, theirs = activity_of(run, 2), activity_of(alone, 2)
    np.testing.assert_allclose(ours.readout, theirs.readout, rtol=1e-6)
    assert ours.readout[-1] == pytest.approx(run.evaluate().predictions[2].numpy(), rel=1e-6)
    assert ours.target == theirs.target == run.dataset.test.labels[2]
    np.testing.assert_allclose(*(answers_to_test_part(x)[0].scores for x in (run, alone)), rtol=1e-6)
    assert answers_to_test_part(alone)[1] == "simulator"


def test_real_targets(tmp_path):
    data = own_data.forecast(tmp_path / "x.npz")
    words = ["train", str(data), "--out", str(tmp_path / "run"), *QUICK, "--encoder", "sequence", "--cost", "mse"]
    assert main(words) == 0
    run = open_run(tmp_path / "run")
    answered, where = answers_to_test_part(run)
    assert where == "torch"
    found = figures.figures_of(run, 5, answered)
    assert list(found) == ["curves", "activity", "rates", "answers"]
    score = axes_of(found["curves"])["R²"]
    assert score.lines[1].get_ydata().tolist() == [epoch["val_r2"] for epoch in run.history]
    scaling = run.record.targets
    targets = run.dataset.test.labels * np.array(scaling.spread) + np.array(scaling.mean)
    assert targets[:, 0].mean() > 50, "in the units of the data, which are near 100"
    first, second, left, _ = found["answers"].axes
    for k, ax in enumerate((first, second)):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([targets[:, k], answered.scores[:, k]], 1))
    np.testing.assert_allclose(left.collections[0].get_offsets()[:, 1], answered.scores[:, 0] - targets[:, 0])
    r2 = 1 - np.square(answered.scores[:, 1] - targets[:, 1]).sum() / np.square(targets[:, 1] - targets[:, 1].mean()).sum()
    assert first.get_title(loc="left").startswith("y0: R² ")
    assert second.get_title(loc="left") == f"y1: R² {r2:.3f}"
    lines = axes_of(found["activity"])["Input current of test sample 5"].lines
    np.testing.assert_array_equal([line.get_ydata() for line in lines], run.dataset.test.values[5].T)
    readout = axes_of(found["activity"])["Readout"]
    assert readout.lines[0].get_ydata()[-1] == pytest.approx(run.evaluate().predictions[5, 0].item(), rel=1e-5)
    assert readout.lines[1].get_ydata()[0] == pytest.approx(run.dataset.test.labels[5, 0])


def test_a_picture_has_its_colours():
    image = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    shown = plots.picture(plots.new_figure(2, 2).subplots(), image).images[0].get_array()
    np.testing.assert_array_equal(shown, image.transpose(1, 2, 0))
    beside = plots.picture(plots.new_figure(2, 2).subplots(), image[:2]).images[0].get_array()
    np.testing.assert_array_equal(beside, np.concatenate([image[0], image[1]], 1))


def test_the_activity_of_a_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["train", str(own_data.colours(tmp_path / "x")), "--out", str(tmp_path / "run"), *QUICK]) == 0
    run = open_run(tmp_path / "run")
    assert figures.shows_pictures(run)
    shown = axes_of(figures.activity(run, 4))
    name = run.classes[run.dataset.test.labels[4]]
    image = run.dataset.test.images[4] / run.dataset.test.full_scale
    np.testing.assert_allclose(shown[f"Test sample 4 ({name})"].images[0].get_array(), image.transpose(1, 2, 0), rtol=1e-6)


@pytest.mark.parametrize("name", ["$a$ and $b$", r"$\frac$", "_hidden", "two\nlines", "x" * 300, "<b>"])
def test_names_of_strangers_are_drawn_as_they_are(tmp_path, name):
    figure = plots.new_figure(4, 4)
    above, below = figure.subplots(2, 1)
    plots.confusion(above, np.array([0, 1]), np.array([0, 0]), [name, "other"])
    plots.decision(below, np.array([[1.0, 2.0]]), [name, "other"], 0)
    figure.savefig(tmp_path / "figure.png")
    shown = above.get_xticklabels()[0].get_text().replace(r"\$", "$")
    assert shown == name.replace("\n", " ") if len(name) < 17 else shown == name[:15] + "…"


def test_many_classes_have_some_names():
    labels = np.arange(100)
    ax = plots.confusion(plots.new_figure(4, 4).subplots(), labels, (labels + (labels == 7)) % 100, list(map(str, labels)))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [str(k) for k in range(0, 100, 4)]
    assert not ax.texts
    assert ax.images[0].get_array().sum() == 1
