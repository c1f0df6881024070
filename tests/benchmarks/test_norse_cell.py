"""A Norse network with a recurrent cell: what each method does with the cell's matrices."""

import importlib
import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("norse.torch", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark_module():
    """The benchmark, imported as its script finds its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("norse_cell")


def data():
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(10, 12, generator=generator)

    def part(n):
        y = torch.arange(n) % 10
        return (centres[y] + 0.05 * torch.randn(n, 12, generator=generator)).clamp(0, 1), y

    return {"train": part(200), "validation": part(40), "test": part(40)}


def test_linear_layers_compute_what_the_cell_does(benchmark_module):
    torch.manual_seed(0)
    network = benchmark_module.Norse(12, 16).double()
    x = 3 * torch.rand(7, 12, dtype=torch.float64)
    expected = network(x)
    assert expected.std() > 0.01
    assert torch.equal(benchmark_module.Linear(network)(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layers", "hybrid", "linear", "bptt-fixed", "bptt"])
def test_who_trains_the_matrices(benchmark_module, monkeypatch, name):
    kept = []
    make = benchmark_module.make

    def made(*arguments):
        network, method = make(*arguments)
        matrices = [
            p
            for n, p in network.named_parameters()
            if n.endswith(("input_weights", "recurrent_weights", "given.weight", "recurrent.weight"))
        ]
        kept.extend((p, p.detach().clone()) for p in matrices)
        return network, method

    monkeypatch.setattr(benchmark_module, "make", made)
    found = benchmark_module.run(name, (16, 20), 6, 0, 1e-2, data())
    assert len(kept) == 2
    assert {torch.equal(p, before) for p, before in kept} == {name in ("layers", "bptt-fixed")}
    assert found["validation"] > 25  # guessing gives 10
    assert found["validation"] == max(found["curve"])
    steps = 6 * 10
    assert found["backward_passes"] == (steps if name.startswith("bptt") else 0)
    assert found["forward_passes"] >= steps * {"layers": 3, "hybrid": 7, "linear": 3}.get(name, 1)


def test_validation_chooses_the_rate(benchmark_module, monkeypatch, tmp_path, capsys):
    parts, sizes = data(), {"digits": (8, 20)}
    monkeypatch.setattr("common.RESULTS", tmp_path)
    monkeypatch.setattr(benchmark_module, "_SIZES", sizes)
    monkeypatch.setattr(benchmark_module, "to_tensors", lambda part, device: part)
    monkeypatch.setattr(benchmark_module, "load", lambda name: type("Set", (), parts))
    monkeypatch.setattr("sys.argv", ["norse_cell.py", "--methods", "bptt", "--seeds", "0", "1", "--epochs", "1", "--json"])
    benchmark_module.main()
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((tmp_path / "norse-cell-digits.json").read_text())
    assert found == stored["methods"]
    best = max(stored["tuning"], key=lambda r: r["validation"])
    assert (found["bptt"]["lr"], found["bptt"]["seeds"]) == (best["lr"], 2)
    assert [r["test"] for r in stored["tuning"]] == [None] * 3
