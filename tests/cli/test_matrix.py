"""Every command on every kind of run folder: it works, or it refuses in one line that names its reason."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.cli.main import _COMMANDS, main
from polystep_snn.hardware import network_file
from tests import own_data

OLD = Path(__file__).parents[1] / "training" / "written_by" / "0.1.0"
SMALL = ["--hidden", "8", "--epochs", "1", "--batch-size", "16"]
QUICK = [*SMALL, "--no-compile", "--threads", "1"]
SEQUENCES, CHIP, VALUES = ["--encoder", "sequence"], ["--neuron", "loihi"], ["--cost", "mse"]
# How data is made, and what training on it asks for.
TRAINED = {
    "named": (own_data.named, "named.npz", []),
    "colours": (own_data.colours, "colours", []),
    "table": (own_data.table, "table.npz", []),
    "rounded": (own_data.images, "rounded.npz", ["--encoder", "rate"]),
    "chip": (own_data.images, "chip.npz", CHIP),
    "events": (own_data.events, "events", [*CHIP, "--cost-steps", "all"]),
    "spikes": (own_data.spikes, "spikes.npz", [*SEQUENCES, *CHIP]),
    "forecast": (own_data.forecast, "forecast.npz", [*SEQUENCES, *VALUES]),
    "values": (own_data.spike_values, "values.npz", [*SEQUENCES, *CHIP, *VALUES, "--readout", "max"]),
    "image-values": (own_data.image_values, "image-values.npz", ["--encoder", "rate", *VALUES]),
    "born": (own_data.images, "born.npz", ["--on-chip"]),
}
# Made of these: the folder copied, without its checkpoint, its data moved, after it has learned on the chip.
MADE_OF = {"copied": "chip", "integers": "chip", "value-integers": "values", "moved": "chip", "adapted": "chip", "unlabelled": "chip"}
LEARNED = ("adapted", "unlabelled")
OF_VALUES = ("forecast", "values", "value-integers", "image-values")
KINDS = [*TRAINED, *MADE_OF, "digits-int8", "0.1.0"]

CURRENTS = "the chip takes spikes"
OF_CURRENTS = ("named", "colours", "table", "forecast", "0.1.0")
FOR_CHIPS = ("simulator", "verify", "export", "nir", "lava-dl", "adapt", "cost")
REFUSED = {
    **{(kind, what): CURRENTS for kind in OF_CURRENTS for what in FOR_CHIPS},
    ("born", "verify"): "integers that torch cannot represent",
    **{(kind, "adapt"): "a readout of integrators without leak" for kind in ("values", "value-integers")},
    ("image-values", "adapt"): "real targets",
}


class Runs:
    """Run folders by kind, made when they are first asked for."""

    def __init__(self, folder: Path):
        self.folder, self.made = folder, {}

    def __getitem__(self, kind: str) -> Path:
        if kind not in self.made:
            self.made[kind] = self._make(kind)
        return self.made[kind]

    def _make(self, kind: str) -> Path:
        out = self.folder / "runs" / kind
        if kind == "digits-int8":
            return Path(kind)
        if kind == "0.1.0":
            return shutil.copytree(OLD, out)
        if kind in TRAINED:
            make, name, options = TRAINED[kind]
            quick = SMALL if kind == "born" else QUICK
            assert main(["train", str(make(self.folder / name)), "--out", str(out), *quick, *options]) == 0
            return out
        if kind == "adapted":
            assert main(["adapt", str(self["chip"]), "--shift", "noise:0.2", "--samples", "40", "--out", str(out)]) == 0
            return out
        if kind == "unlabelled":
            shift = ["--shift", "inversion:0.5", "--labels", "none", "--every", "20", "--samples", "60"]
            assert main(["adapt", str(self["chip"]), *shift, "--out", str(out)]) == 0
            return out
        if kind == "moved":
            data = own_data.images(self.folder / "here.npz")
            assert main(["train", str(data), "--out", str(out), *QUICK, *CHIP]) == 0
            (self.folder / "there").mkdir()
            data.rename(self.folder / "there" / "here.npz")
            return out
        shutil.copytree(self[MADE_OF[kind]], out)
        if kind != "copied":
            (out / "checkpoint.safetensors").unlink()
        return out

    def options(self, kind: str) -> list[str]:
        """What commands need to find its data."""
        return ["--data-dir", str(self.folder / "there")] if kind == "moved" else []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("POLYSTEP_SNN_DATA", raising=False)
        yield Runs(folder)


@pytest.fixture
def answer(runs, capsys):
    """A function that gives a command to a run and returns its JSON; None where it refuses as it should."""

    def give(kind, what, *words):
        run = str(runs[kind])
        capsys.readouterr()
        command = [words[0], run, *map(str, words[1:]), *runs.options(kind), "--json"]
        code = main(command)
        out, err = capsys.readouterr()
        reason = REFUSED.get((kind, what))
        assert "Traceback" not in err
        if reason is None:
            assert code == 0, err
            assert out.count("\n") == 1
            return json.loads(out)
        assert code == 2
        assert out == ""
        errors = [line for line in err.splitlines() if line.startswith("polystep-snn: error: ")]
        assert len(errors) == 1
        assert err.splitlines()[-1] == errors[0]
        assert re.search(reason, errors[0])
        return None

    return give


def score(result):
    return result["test_r2"] if "test_r2" in result else result["test_accuracy"]


@pytest.mark.parametrize("kind", KINDS)
def test_eval(runs, answer, kind):
    found = answer(kind, "eval", "eval")
    summary = Path(runs[kind]) / "summary.json"
    if found and summary.is_file() and kind not in LEARNED:
        assert score(found) == score(json.loads(summary.read_text()))
    inside = answer(kind, "simulator", "eval", "--backend", "simulator")
    if found and inside and kind not in ("rounded", "image-values"):
        assert score(inside) == score(found), "in the chip's integers both are the same network"
    if kind in LEARNED:
        assert score(inside) == json.loads(summary.read_text())["clean_accuracy_after"]
    if kind == "born":
        assert score(inside) == score(json.loads(summary.read_text()))


@pytest.mark.parametrize("kind", [*TRAINED, *MADE_OF])
def test_predict(runs, answer, kind, tmp_path):
    """What it says to samples without labels is what ``eval --data`` counts beside their labels."""
    assert runs[kind].is_dir()
    source = runs.folder / ("there/here.npz" if kind == "moved" else TRAINED[MADE_OF.get(kind, kind)][1])
    if source.is_dir():
        found = answer(kind, "predict", "predict", source)
        assert {p["class"] for p in found["predictions"]} <= {"class-0", "class-1", "class-2"}
        assert len(found["predictions"]) == len(list(source.glob("*/*")))
        return
    with np.load(source) as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    np.save(tmp_path / "x.npy", x)
    found = answer(kind, "predict", "predict", tmp_path / "x.npy")
    expected = score(answer(kind, "eval", "eval", "--data", source))
    scores = np.array([p["scores"] for p in found["predictions"]])
    if kind in OF_VALUES:
        targets = y.reshape(len(y), -1)
        r2 = 1 - np.square(scores - targets).sum(0) / np.square(targets - targets.mean(0)).sum(0)
        assert r2.mean() == pytest.approx(expected, abs=1e-4)
    else:
        assert np.mean([p["class"] == str(label) for p, label in zip(found["predictions"], y, strict=True)]) == pytest.approx(expected)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)
        assert [found["classes"][k] for k in scores.argmax(1)] == [p["class"] for p in found["predictions"]]


@pytest.mark.parametrize("kind", KINDS)
def test_verify(runs, answer, kind):
    found = answer(kind, "verify", "verify", "--limit", 20)
    if found:
        assert found["differences"] == 0
        assert found["spikes_compared"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_export(runs, answer, kind, tmp_path):
    found = answer(kind, "export", "export", "--out", tmp_path / "x.safetensors")
    assert (answer(kind, "nir", "export", "--format", "nir", "--out", tmp_path / "x.nir") is None) == (found is None)
    assert (answer(kind, "lava-dl", "export", "--format", "lava-dl", "--out", tmp_path / "x.net") is None) == (found is None)
    assert (tmp_path / "x.safetensors").is_file() == (tmp_path / "x.nir").is_file() == (tmp_path / "x.net").is_file() == bool(found)
    if found:
        network = network_file.load(tmp_path / "x.safetensors")
        assert network.sizes == found["sizes"]
        own = Path(runs[kind]) / "network.safetensors"
        if own.is_file():
            ours, theirs = network_file.load(own), network
            assert all(np.array_equal(a.weight, b.weight) for a, b in zip(ours.layers, theirs.layers, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_plot(answer, kind, tmp_path):
    figures = {Path(name).stem for name in answer(kind, "plot", "plot", "--out", tmp_path, "--sample", 3)["figures"]}
    last = "answers" if kind in OF_VALUES else "confusion"
    # One that has learned on the chip has no loss, and one epoch makes no curve.
    assert figures == {"activity", "rates", last} | (set() if kind in ("born", *LEARNED) else {"curves"})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_report(answer, kind, tmp_path):
    page = Path(answer(kind, "report", "report", "--out", tmp_path / "page.html")["report"]).read_text()
    found = answer(kind, "eval", "eval")
    assert (f"<b>{found['test_r2']:.4f}</b>" if "test_r2" in found else f"<b>{found['test_accuracy']:.2%}</b>") in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["named", "colours", "table", "events", "spikes", "forecast", "born", "digits-int8", "0.1.0"])
def test_profile(runs, capsys, kind, tmp_path):
    run = runs[kind]
    capsys.readouterr()
    words = ["--num-steps", "16", "--methods", "polystep", "--batch-size", "4", "--no-compile", "--out", str(tmp_path / "p"), "--json"]
    assert main(["profile", "--run", str(run), *words]) == 0, capsys.readouterr().err
    (point,) = json.loads(capsys.readouterr().out)["points"]
    assert point["seconds_per_step"] > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LEARNED])
def test_adapt(runs, answer, kind, tmp_path):
    words = ["--shift", "noise:0.2", "--samples", "20", "--held-out", "5", "--out", tmp_path / "new"]
    found = answer(kind, "adapt", "adapt", *words)
    assert (tmp_path / "new").exists() == bool(found)
    if found:
        assert found["clean_accuracy_before"] == score(answer(kind, "simulator", "eval", "--backend", "simulator"))


@pytest.mark.skipif("cost" not in {command.__name__.split(".")[-1] for command in _COMMANDS}, reason="there is no such command")
@pytest.mark.parametrize("kind", KINDS)
def test_cost(answer, kind):
    found = answer(kind, "cost", "cost", "--limit", 10)
    assert found is None or found["synaptic_operations"] > 0
