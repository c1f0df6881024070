"""The networks of the examples, and the benchmark that compares methods on them."""

import importlib
import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.any_module import WholeModule
from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.sequential import Chain
from polystep_snn.spaces.weight.space import WeightSpace, place
from polystep_snn.spaces.weight.subspaces import HybridLowRank

ROOT = Path(__file__).parents[2]


def example(name):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


@pytest.fixture(scope="module")
def paper():
    """The benchmark, imported as its script finds its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("paper")


NETWORKS = {
    "int8": lambda: example("int8_mlp")["int8_mlp"](16, 6, 3),
    "staircase": lambda: example("staircase_activation")["staircase_mlp"](16, 6, 3),
    "experts": lambda: example("mixture_of_experts")["mixture_of_experts"](16, 4, 2, 6),
    "attention": lambda: example("argmax_attention")["argmax_attention"](4, 2, 3, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_candidates_cost_what_a_whole_pass_says(name):
    """Re-using what a candidate leaves unchanged finds the costs of evaluating it whole."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    x, y = torch.rand(20, 16, dtype=torch.float64), torch.randint(3, (20,))
    loss = nn.CrossEntropyLoss()
    chain = evaluator_of(network, loss, 2**22)
    assert isinstance(chain, Chain)
    fast, whole = (e.batch(x, y) for e in (chain, WholeModule(network, loss, 2**22)))
    space = WeightSpace(1.0, HybridLowRank(2), polytope="simplex")
    spread = []
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            part = space.subspace.draw(key, parameter, torch.Generator().manual_seed(1), None)
            offsets = place(part, space, parameter, 0.0, torch.Generator().manual_seed(2)).offsets
            expected = whole.costs(part, offsets)
            torch.testing.assert_close(fast.costs(part, offsets), expected, rtol=0, atol=1e-12)
            spread.append(float(expected.detach().std()))
    assert min(spread) > 1e-6


def test_bytes_are_bytes():
    defined = example("int8_mlp")
    layer = defined["Int8Linear"](3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -2.0, 2.0], [0.0039, 0.004, -0.01]]))
        layer.bias.copy_(torch.tensor([0.1, 0.0]))
        used = layer.quantise(layer.weight) * 128
        assert used.tolist() == [[64, -128, 127], [0, 1, -1]]
        expected = torch.tensor([[(64 - 256 + 3 * 127 + 13) / 128, (0 + 2 - 3) / 128]])
        torch.testing.assert_close(layer(torch.tensor([[1.0, 2.0, 3.0]])), expected)


def test_one_expert_speaks():
    layer = example("mixture_of_experts")["TopExpert"](2)
    # Two gates, then two neurons of each expert.
    x = torch.tensor([[0.1, 0.2, 1.0, 2.0, 3.0, -4.0], [0.9, 0.2, 1.0, 2.0, 3.0, 4.0]])
    assert layer(x).tolist() == [[0, 0, 3, 0], [1, 2, 0, 0]]


def test_inverted_images_are_classes_of_their_own():
    images, labels = example("mixture_of_experts")["with_inverted"](torch.tensor([[0.25, 1.0]]), torch.tensor([3]))
    assert images.tolist() == [[0.25, 1.0], [0.75, 0.0]]
    assert labels.tolist() == [3, 13]


def test_attention_looks_at_one_patch():
    defined = example("argmax_attention")
    patches = defined["Patches"](4, 2)(torch.arange(16.0)[None])
    assert patches[0, 1].tolist() == [2, 3, 6, 7, -1, 1]
    assert patches[0, 2].tolist() == [8, 9, 12, 13, 1, -1]
    # Query, key, value of two patches; the first one's query likes the second one's key, the second one's its own.
    x = torch.tensor([[[1.0, -1.0, 5.0], [2.0, 3.0, -7.0]]])
    layer = defined["ArgmaxAttention"]()
    assert layer.attended(x).tolist() == [[1, 1]]
    assert layer(x).tolist() == [[0.0, 0.0]]
    assert layer(-x).tolist() == [[2.0, 14.0]]


def test_a_staircase_has_as_many_heights_as_levels():
    stairs = example("staircase_activation")["Staircase"](5)
    heights = stairs(torch.linspace(-20, 16, 999))
    torch.testing.assert_close(heights.unique(), torch.tensor([0, 0.2, 0.4, 0.6, 0.8]))
    assert (heights.diff() >= 0).all()


@pytest.fixture
def tiny(paper, monkeypatch, tmp_path):
    """Three classes that a few steps can tell apart, and results that go elsewhere."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(3, 784, generator=generator)

    def part(n):
        y = torch.randint(3, (n,), generator=generator)
        return (centres[y] + 0.3 * torch.randn(n, 784, generator=generator)).clamp(0, 1), y

    data = {"train": part(300), "validation": part(60), "test": part(60)}
    monkeypatch.setattr(paper.Task, "data", lambda self: data)
    monkeypatch.setattr("common.RESULTS", tmp_path)
    monkeypatch.setattr(paper, "RESULTS", tmp_path)
    return data


@pytest.mark.parametrize("method", ["weights", "published", "openai_es", "eggroll", "spsa", "cma_es"])
@pytest.mark.parametrize("task", ["int8", "spiking"])
def test_every_method_learns_within_its_budget(paper, tiny, task, method):
    if method == "cma_es":
        pytest.importorskip("cma")
    setting, budget = paper.SETTINGS[method][1], 900 if task == "spiking" else 1500
    if method == "published":
        pytest.importorskip("polystep")
        setting = {"max_subspace_dim": 160, "shorter": 0.5 if task == "spiking" else 4.0}
        budget = 12_000 if task == "spiking" else 8000
    if method == "weights":
        setting, budget = {"lr": 0.05, "rank": 2}, 8000
    if method == "spsa" and task == "spiking":
        setting = {"a": 0.1, "c": 0.1}
    found = paper.run(method, task, budget, 16, 0, setting, tiny)
    assert 0.6 * budget < found["evaluations"] <= budget
    assert len(found["curve"]) <= 20
    assert found["seconds"] > 0
    assert min(found["validation"], found["test"]) > 45  # guessing gives 33


def test_seeds_decide_a_run(paper, tiny):
    first, again, other = (paper.run("weights", "int8", 2500, 16, seed, {"lr": 0.02}, tiny) for seed in (1, 1, 2))
    assert first["curve"] == again["curve"]
    assert first["test"] == again["test"]
    assert first["curve"] != other["curve"]


def test_the_weights_that_validation_chose_are_tested(paper, tiny, monkeypatch):
    """Test accuracy is that of the best validation, not of the last step."""
    scores = iter([10.0, 90.0, 50.0])
    network_at = []

    def accuracy(network, part):
        network_at.append(network[0].bias.detach().clone())
        return next(scores) if part is tiny["validation"] else 77.0

    monkeypatch.setattr(paper, "accuracy", accuracy)
    found = paper.run("weights", "int8", 3 * 814, 16, 0, {"lr": 0.02}, tiny)
    assert (found["validation"], found["test"]) == (90.0, 77.0)
    *validated, tested = network_at
    assert torch.equal(tested, validated[1])
    assert not torch.equal(tested, validated[2])


def test_a_table_can_be_added_to(paper, tiny, monkeypatch, tmp_path, capsys):
    def call(*arguments):
        monkeypatch.setattr(
            "sys.argv", ["paper.py", "staircase", "--batch-size", "16", "--budget", "2000", "--setting", "0", "--json", *arguments]
        )
        paper.main()
        return json.loads(capsys.readouterr().out)

    alone = call("--seeds", "0")
    both = call("--seeds", "0", "1", "--resume")
    assert call("--seeds", "0", "1", "--resume") == both  # nothing was left to run
    assert (alone["weights"]["seeds"], both["weights"]["seeds"]) == (1, 2)
    assert alone["weights"]["evaluations"] <= 2000
    stored = json.loads((tmp_path / "paper-staircase-2000-setting0.json").read_text())
    assert [r["seed"] for r in stored["runs"]] == [0, 1]
    assert stored["batch_size"] == 16
    with pytest.raises(SystemExit):
        call("--seeds", "2", "--resume", "--batch-size", "8")
    assert "measured with other settings" in capsys.readouterr().err
    (tmp_path / "paper-staircase-2000-setting0.json").write_text("{")
    with pytest.raises(SystemExit):
        call("--resume")
    assert "paper-staircase-2000-setting0.json is damaged" in capsys.readouterr().err


def test_the_setting_that_validation_likes_best_is_taken(paper, tiny, monkeypatch, tmp_path, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["paper.py", "int8", "--batch-size", "16", "--methods", "weights", *arguments])
        paper.main()

    monkeypatch.setattr(paper, "_TUNING_BUDGET", 1700)
    monkeypatch.setitem(paper.SETTINGS, "weights", [{"lr": 1e-9}, {"lr": 0.05}])
    with pytest.raises(SystemExit):
        call("--budget", "900")
    assert "weights has no tuned setting" in capsys.readouterr().err
    call("--tune")
    runs = json.loads((tmp_path / "paper-tune.json").read_text())["methods"]["weights"]["runs"]
    assert runs[0]["validation"] < runs[1]["validation"]
    assert [r["test"] for r in runs] == [None, None]
    call("--budget", "900", "--seeds", "0")
    assert json.loads((tmp_path / "paper-int8-900.json").read_text())["runs"][0]["setting"] == {"lr": 0.05}


def test_bad_input(paper, tiny, monkeypatch, capsys):
    with pytest.raises(InputError, match=r"a step of weights takes \d+ evaluations, but the budget is 100"):
        paper.run("weights", "int8", 100, 16, 0, {"lr": 0.02}, tiny)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="`polystep` is not installed here"):
        paper.run("published", "int8", 100, 16, 0, {}, tiny)
    for arguments, message in (
        (["--methods", "cma_es", "--setting", "0"], "cma is not installed: pip install cma"),
        (["--budget", "0"], "argument --budget: 0 is too few: choose at least 1"),
    ):
        monkeypatch.setattr("sys.argv", ["paper.py", "int8", *arguments])
        with pytest.raises(SystemExit):
            paper.main()
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8_mlp", "staircase_activation", "mixture_of_experts", "argmax_attention"])
def test_examples_run_and_learn(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)[1])
    assert accuracy > 90  # guessing gives 10, or 5 with twenty classes
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
