"""Commands on data of one's own: from a path to a deployed network, and every run opened again."""

import csv
import json
import shutil

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.files import read_json

pytestmark = pytest.mark.usefixtures("cache")
TINY = ("--hidden", "8", "--epochs", "2", "--batch-size", "16", "--no-compile", "--num-steps", "4")


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture
def letters(tmp_path, digits):
    """Digits under other names, with pixels in float64."""
    names = np.array(list("abcdefghij"))
    path = tmp_path / "my letters.npz"
    train, test = digits.train, digits.test
    np.savez(
        path,
        x_train=train.images[:300] / 3.0,
        y_train=names[train.labels[:300]],
        x_test=test.images[:100] / 3.0,
        y_test=names[test.labels[:100]],
    )
    return path


def test_from_a_file_to_verified_integers(tmp_path, letters, capsys):
    out = tmp_path / "run"
    summary = answer(capsys, "train", letters, "--out", out, "--neuron", "loihi", *TINY)
    assert np.sum(summary["test_confusion"]) == 100
    assert np.trace(summary["test_confusion"]) == pytest.approx(100 * summary["test_accuracy"])
    shares = [row[k] / sum(row) for k, row in enumerate(summary["test_confusion"])]
    assert summary["test_balanced_accuracy"] == pytest.approx(np.mean(shares))
    found = answer(capsys, "eval", out)
    assert {name: found[name] for name in ("test_accuracy", "test_confusion")} == {
        name: summary[name] for name in ("test_accuracy", "test_confusion")
    }
    assert answer(capsys, "eval", out, "--backend", "simulator")["test_accuracy"] == summary["test_accuracy"]
    assert answer(capsys, "verify", out, "--limit", 20)["differences"] == 0
    assert run(capsys, "export", out, "--out", tmp_path / "n.safetensors")[0] == 0


def test_predictions_are_those_of_the_test_part(tmp_path, letters, capsys):
    out = tmp_path / "run"
    answer(capsys, "train", letters, "--out", out, "--neuron", "loihi", *TINY)
    summary = read_json(out / "summary.json")
    with np.load(letters) as given:
        np.save(tmp_path / "new.npy", given["x_test"])
        labels = given["y_test"]
    # Nothing but the run is needed.
    letters.unlink()
    code, table, _ = run(capsys, "predict", out, tmp_path / "new.npy")
    rows = list(csv.DictReader(table.splitlines()))
    assert code == 0
    assert np.mean([row["class"] for row in rows] == labels) == pytest.approx(summary["test_accuracy"])
    for row in rows:
        scores = {name: float(row[name]) for name in "abcdefghij"}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
        assert scores[row["class"]] == max(scores.values())
    other = answer(capsys, "predict", out, tmp_path / "new.npy", "--backend", "simulator")
    assert [p["class"] for p in other["predictions"]] == [row["class"] for row in rows]
    assert run(capsys, "export", out, "--out", tmp_path / "n.nir", "--format", "nir")[0] == 0


def test_data_that_has_moved_and_other_data(tmp_path, letters, capsys, caplog):
    out = tmp_path / "run"
    summary = answer(capsys, "train", letters, "--out", out, *TINY)
    (tmp_path / "elsewhere").mkdir()
    moved = letters.rename(tmp_path / "elsewhere" / letters.name)
    code, _, err = run(capsys, "eval", out)
    assert code == 2
    assert "does not exist: name it as it is called now, or say with --data-dir where it lies" in err
    for place in (moved, moved.parent):
        assert answer(capsys, "eval", out, "--data-dir", place)["test_accuracy"] == summary["test_accuracy"]
    shutil.copytree(out, tmp_path / "copy")
    assert answer(capsys, "eval", tmp_path / "copy", "--data-dir", moved)["test_accuracy"] == summary["test_accuracy"]
    assert not caplog.records
    with np.load(moved) as given:
        np.savez(tmp_path / "few.npz", x_test=given["x_test"][:10], y_test=given["y_test"][:10])
    found = answer(capsys, "eval", out, "--data-dir", moved, "--data", tmp_path / "few.npz")
    assert found["samples"] == 10
    assert "the data is other than what the run was trained on" in caplog.text


def test_real_targets(tmp_path, capsys):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 6, 3)).astype(np.float32)
    y = 10 * x[:, :, :1].mean(1) + 4
    np.savez(tmp_path / "sums.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    out = tmp_path / "run"
    options = ("--encoder", "sequence", "--cost", "mse", "--hidden", "24", "--epochs", "12", "--batch-size", "16", "--no-compile")
    summary = answer(capsys, "train", tmp_path / "sums.npz", "--out", out, *options)
    assert summary["test_r2"] > 0.3
    assert summary["test_mse"] == pytest.approx((1 - summary["test_r2"]) * y[200:].var(), rel=1e-4)
    assert answer(capsys, "eval", out)["test_mse"] == summary["test_mse"]
    np.save(tmp_path / "new.npy", x[200:])
    answers = [p["scores"] for p in answer(capsys, "predict", out, tmp_path / "new.npy")["predictions"]]
    assert np.square(np.array(answers) - y[200:]).mean() == pytest.approx(summary["test_mse"], rel=1e-4)


def test_rare_classes_are_drawn_as_often_as_others(tmp_path, digits, capsys):
    keep = np.concatenate([np.flatnonzero(digits.train.labels == 1)[:100], np.flatnonzero(digits.train.labels == 8)[:12]])
    test = np.flatnonzero(np.isin(digits.test.labels, (1, 8)))
    np.savez(
        tmp_path / "rare.npz",
        x_train=digits.train.images[keep],
        y_train=digits.train.labels[keep],
        x_test=digits.test.images[test],
        y_test=digits.test.labels[test],
    )
    found = {}
    for weights in ("none", "balanced"):
        out = tmp_path / weights
        summary = answer(capsys, "train", tmp_path / "rare.npz", "--out", out, *TINY, "--class-weights", weights)
        found[weights] = summary["test_confusion"][1][1]
    assert found["balanced"] > found["none"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnits",), "there is no data set 'mnits', and no file or folder of this name: choose one of digits, mnist"),
        (("nowhere.npz",), "the data nowhere.npz does not exist"),
        (("{letters}", "--encoder", "events"), "encoder is 'events', but {letters} holds images: choose another one"),
        (
            ("{letters}", "--encoder", "sequence", "--neuron", "loihi"),
            "the sequences of {letters} are currents, but the neuron 'loihi' takes spikes",
        ),
        (("digits", "--cost", "mse"), "cost is 'mse', but digits has classes"),
        (("{letters}", "--cost", "mse"), "y_train of {letters} is <U1 [300]: give real targets"),
        (("{letters}", "--cost", "mse", "--class-weights", "balanced"), "real targets have no classes: leave it out"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(tmp_path, letters, capsys, arguments, message):
    given = [a.format(letters=letters) for a in arguments]
    code, _, err = run(capsys, "train", *given, "--out", tmp_path / "run", *TINY[:-2])
    assert code == 2
    assert message.format(letters=letters) in err.splitlines()[-1]
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: None, "new.npy does not exist: name a file or a folder of samples"),
        (lambda f: np.save(f, np.zeros((3, 5))), "new.npy is [3, 5], but the run takes samples of [8, 8]: give [n, 8, 8]"),
        (lambda f: np.save(f, np.full((3, 8, 8), np.nan)), "new.npy contains NaN or infinity, first in sample 0"),
        (lambda f: np.save(f, np.array([None]), allow_pickle=True), "new.npy cannot be read"),
        (lambda f: f.write_bytes(b"no array"), "new.npy cannot be read"),
    ],
)
def test_inputs_that_are_none_are_refused(tmp_path, letters, capsys, write, message):
    answer(capsys, "train", letters, "--out", tmp_path / "run", *TINY)
    write(tmp_path / "new.npy")
    code, out, err = run(capsys, "predict", tmp_path / "run", tmp_path / "new.npy")
    assert (code, out) == (2, "")
    assert message in err
