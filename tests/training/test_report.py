"""The page of a run: what it says is what the run did, it needs nothing else, and nothing of a stranger's is taken for HTML."""

import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from polystep_snn import Trainer
from polystep_snn.cli.main import main, make_parser
from polystep_snn.datasets.base import Dataset, Sequences
from polystep_snn.files import read_json
from polystep_snn.training.command import command_of, flags, given_options
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe
from polystep_snn.training.report import report_of
from polystep_snn.training.run_folder import open_run
from tests import own_data

QUICK = ["--hidden", "8", "--epochs", "2", "--batch-size", "16", "--no-compile", "--threads", "1"]


class Page(HTMLParser):
    """Tags, their attributes and the text of a page; fails where a tag is not closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.links, self.words, self.cells = [], [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    def after(self, cell):
        return self.cells[self.cells.index(cell) + 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        data = own_data.named(folder / "<script>alert(1)<\u2215script>&.npz")
        assert main(["train", str(data), "--out", str(folder / "run"), *QUICK, "--lr", "0.02"]) == 0
        yield folder


def test_it_says_what_the_run_did(folder, capsys):
    capsys.readouterr()
    assert main(["report", str(folder / "run"), "--json"]) == 0
    path = folder / "run" / "report.html"
    assert json.loads(capsys.readouterr().out) == {"report": str(path)}
    page, summary = Page(path.read_text()), read_json(folder / "run" / "summary.json")
    record = read_json(folder / "run" / "data.json")
    assert f"{summary['test_accuracy']:.2%}" in page.words
    assert f"{summary['test_balanced_accuracy']:.2%}" in page.words
    assert f"{summary['val_accuracy']:.2%}" in page.words
    assert page.after("fingerprint") == record["fingerprint"]
    assert page.after("note") == record["note"]
    assert page.after("training, validation, test samples") == ", ".join(map(str, record["sizes"]))
    assert (page.after("lr"), page.after("hidden"), page.after("seed")) == ("0.02", "8", "0")
    counts = summary["test_confusion"]
    for k, name in enumerate(record["targets"]["classes"]):
        row = page.cells.index(name)
        assert page.cells[row + 1 : row + 3] == [str(sum(counts[k])), str(counts[k][k])]


def test_it_needs_nothing_else_and_takes_nothing_for_html(folder):
    text = report_of(open_run(folder / "run"))
    page = Page(text)
    assert "script" not in page.tags
    assert "b" in page.tags, "the large numbers"
    assert "<script>alert(1)" in "".join(page.words), "the name of the data, as text"
    assert "bee <b>" in page.cells, "a class, as text"
    links = [link for link in page.links if not link.startswith("#")]
    assert len(links) == 4
    assert all(link.startswith("data:image/png;base64,iVBORw0KGgo") for link in links)
    assert not re.search(r"url\(|@import|https?:", text)
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} == set(re.findall(r"<section id=(\w+)>", text))
    assert "prefers-color-scheme: dark" in text


def test_its_command_repeats_the_run(folder, tmp_path):
    command = command_of(open_run(folder / "run"))
    assert command in "".join(Page(report_of(open_run(folder / "run"))).words)
    words = shlex.split(command)
    assert words[0] == "polystep-snn"
    assert words[-2:] == ["--out", "RUN"]
    assert main([*words[1:-1], str(tmp_path / "again")]) == 0
    ours, theirs = (open_run(path) for path in (folder / "run", tmp_path / "again"))
    assert ours.config == theirs.config
    assert ours.record == theirs.record
    for name, tensor in ours.network.state_dict().items():
        assert np.array_equal(tensor.numpy(), theirs.network.state_dict()[name].numpy()), name


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ("digits", ""),
        ("mnist", "--neuron loihi --hidden 16c5s2 32c3s2 --credit chained"),
        ("mnist", "--hidden 32r --encoder rows --no-recurrent-credit"),
        ("mnist", "--space weight --epochs 20"),
        ("nmnist", "--shift 0 --crop 2 2 30 30 --encoder events --no-polarity --stabilize"),
        ("dvsgesture", "--hidden 128"),
        ("spoken-digits", "--neuron loihi --hidden 64d4"),
        ("spoken-digits", "--features events --speaker theo"),
    ],
)
def test_the_options_it_gives_make_the_same_configuration(dataset, options):
    def config_of(words):
        arguments = vars(make_parser().parse_args(["train", dataset, "--out", "x", *words]))
        given = {name: value for name, value in arguments.items() if name in TrainConfig(dataset, **recipe(dataset)).options()}
        given.pop("dataset")
        chosen = recipe(*(dataset, given.get("neuron", "lif"), given.get("space", "node"), given.get("encoder"), given.get("hidden", ())))
        return TrainConfig(dataset, **{**chosen, **given})

    config = config_of(options.split())
    given = given_options(config)
    assert config_of(flags(given)) == config
    assert len(given) <= len(options.split()), "nothing that is chosen anyway"


def test_what_learned_on_the_chip_is_repeated_too(tmp_path, capsys):
    data = own_data.images(tmp_path / "images.npz")
    born = ["--on-chip", "--limit", "60", "--hidden", "6", "--epochs", "2", "--seed", "3"]
    assert main(["train", str(data), "--out", str(tmp_path / "born"), *born]) == 0
    assert main(["adapt", str(tmp_path / "born"), "--shift", "noise:0.2", "--samples", "30", "--out", str(tmp_path / "adapted")]) == 0
    assert main(["train", str(data), "--out", str(tmp_path / "chip"), *QUICK, "--neuron", "loihi"]) == 0
    shift = ["--shift", "inversion:0.5", "--labels", "none", "--every", "20", "--samples", "70"]
    assert main(["adapt", str(tmp_path / "chip"), *shift, "--out", str(tmp_path / "unlabelled")]) == 0
    for name in ("born", "adapted", "unlabelled"):
        words = shlex.split(command_of(open_run(tmp_path / name)))
        assert main([*words[1:-1], str(tmp_path / f"{name}-again")]) == 0
        files = [(tmp_path / folder / "network.safetensors").read_bytes() for folder in (name, f"{name}-again")]
        assert files[0] == files[1]
        page = Page(report_of(open_run(tmp_path / name)))
        assert "Learning on the chip" in page.words
        if name != "born":
            summary = read_json(tmp_path / name / "summary.json")
            assert page.cells.count(f"{summary['clean_accuracy_after']:.2%}") >= 1
            assert f"{summary['clean_accuracy_after']:.2%}" in page.words, "what it scores now"
        assert page.after("total") == ("11" if name == "unlabelled" else "9"), "neurons on the chip"


def test_arrays_from_python_are_repeated_from_python(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 6, 2)).astype(np.float32)
    parts = [Sequences(x[k : k + 20], x[k : k + 20].mean(1)) for k in (0, 20, 40)]
    dataset = Dataset("walk", *parts, 2, ("left", "right"))
    options = {"encoder": "sequence", "num_steps": 6, "cost": "mse", "hidden": (5,), "epochs": 1, "batch_size": 10, "compile": False}
    Trainer(TrainConfig("walk", **options), tmp_path / "run", dataset).fit()
    run = open_run(tmp_path / "run", dataset=dataset)
    command = command_of(run)
    config = eval(command.removeprefix("Trainer(").split(", 'RUN'")[0], {"TrainConfig": TrainConfig})
    assert config == TrainConfig.from_json(read_json(tmp_path / "run" / "config.json"))
    page = Page(report_of(run))
    assert page.cells.count("left") == 1
    error = run.evaluate().predictions.numpy() - parts[2].labels
    assert page.after("left") == f"{np.square(error[:, 0]).mean():.4g}"


def test_where_it_cannot_be_written(folder, tmp_path, capsys):
    capsys.readouterr()
    for words, message in (
        (["digits-int8"], "lies within the package, where nothing is written: name a file with --out"),
        ([str(folder / "run"), "--out", str(tmp_path)], "is a folder: name a file"),
        ([str(folder / "run"), "--sample", "99"], "test samples 0..29"),
        ([str(tmp_path)], "holds no run"),
    ):
        assert main(["report", *words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert message in err


def test_a_run_whose_data_is_gone_says_so(folder, tmp_path, capsys):
    shutil.copytree(folder / "run", tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))
    name = next(folder.glob("*.npz"))
    name.rename(tmp_path / "elsewhere.npz")
    try:
        capsys.readouterr()
        assert main(["report", str(tmp_path / "run")]) == 2
        assert "does not exist: name it as it is called now, or say with --data-dir where it lies" in capsys.readouterr().err
        assert not (tmp_path / "run" / "report.html").exists()
    finally:
        (tmp_path / "elsewhere.npz").rename(name)
