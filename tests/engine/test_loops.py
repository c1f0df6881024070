"""Loops that numba compiles: the functions in them, products of what is not zero, threads, and a cache that never ends a run."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from polystep_snn.engine.entries import Entries, turned_over
from polystep_snn.engine.loops import entropy, padded
from polystep_snn.engine.loops.functions import exponential, logarithm
from polystep_snn.engine.loops.lanes import LANES
from polystep_snn.engine.products import affine, product
from polystep_snn.engine.threads import split, taken_from_torch
from polystep_snn.engine.workspace import Workspace

SCRIPT = """
import torch
from polystep_snn import DirectCurrent, PolyStep, SpikingNetwork
network = SpikingNetwork([20, 12, 3], generator=torch.Generator().manual_seed(0))
step = PolyStep(network)
for _ in range(3):
    step.step(DirectCurrent(5)(torch.full((4, 20), 0.5)), torch.arange(4) % 3)
print(step.kernels.loops, network.linears[0].weight.grad.double().sum().item())
"""


def test_exponentials_and_logarithms_of_float32():
    x = np.linspace(-87, 88, 20_001).astype(np.float32)
    found = np.array([exponential(a, True) for a in x])
    assert (abs(found / np.exp(x.astype(np.float64)) - 1)).max() < 3e-7
    assert exponential(np.float32(-200), True) == exponential(np.float32(-87), True) < 2e-38
    y = np.exp(np.linspace(-80, 80, 20_001)).astype(np.float32)
    error = abs(np.array([logarithm(a, True) for a in y]) - np.log(y.astype(np.float64)))
    assert (error / np.maximum(1, abs(np.log(y)))).max() < 2e-7


def test_exponentials_and_logarithms_of_float64_are_numpys():
    for a in (-300.0, 0.1, 300.0):
        assert exponential(a, None) == np.exp(a)
        assert logarithm(abs(a), None) == np.log(abs(a))


def test_of_several_largest_values_the_first_decides():
    values, live, classes = np.zeros((3, LANES)), np.zeros(LANES), np.zeros(LANES, np.int32)
    values[:, :3], live[:3] = [[1.0, 0.0, 2.0], [1.0, 3.0, 2.0], [0.0, 3.0, 2.0]], 1
    expected = torch.logsumexp(torch.from_numpy(values[:, :3]), 0)
    for target, right in (([0, 1, 0], 3), ([1, 2, 2], 0)):
        classes[:3] = target
        found = np.empty_like(values), np.empty_like(values), np.empty(LANES)
        loss, correct = entropy(values, None, 1.0, 1.0, classes, 1.0, None, live, *found)
        assert correct == right
        assert loss == pytest.approx(float(expected.sum()) - sum(values[c, b] for b, c in enumerate(target)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_what_is_not_zero(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6 * 37, 555, generator=generator, dtype=dtype)
    x = x * (torch.rand(x.shape, generator=generator) < 0.15)
    x[5], x[:, 7] = 0, 0
    weight, bias = torch.randn(50, 555, generator=generator, dtype=dtype), torch.randn(50, generator=generator, dtype=dtype)
    left = torch.randn(50, len(x), generator=generator, dtype=dtype)
    entries = Entries.of(x, Workspace())
    assert entries.starts[-1] == int((x != 0).sum())
    tolerance = {"rtol": 0, "atol": 1e-4 if dtype == torch.float32 else 1e-11}
    expected = (x @ weight.T + bias).view(6, 37, 50).transpose(1, 2)
    found = torch.empty(6, 50, padded(37), dtype=dtype)
    entries.times(turned_over(weight, Workspace(), "weight"), bias, 37, found)
    torch.testing.assert_close(found[..., :37], expected, **tolerance)
    assert (found[..., 37:] == bias[:, None]).all()
    torch.testing.assert_close(entries.outer(left, Workspace()), left @ x, **tolerance)


def test_what_is_dense_or_small_stays_dense():
    assert Entries.of(torch.ones(300, 300), Workspace()) is None
    assert Entries.of(torch.zeros(10, 10), Workspace()) is None
    assert Entries.of(torch.zeros(300, 300), Workspace()).starts[-1] == 0


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3, 7], indirect=True)
@pytest.mark.parametrize("count", [0, 1, 5, 64, 65])
def test_every_item_is_computed_once(threads, count):
    seen, one_thread = np.zeros(count, int), []

    def work(first, behind, step):
        seen[first:behind] += step
        one_thread.append(torch.get_num_threads() == 1)

    with taken_from_torch():
        split(work, count, 2, grain=4)
    assert (seen == 2).all()
    assert all(one_thread)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_an_error_in_a_thread_is_raised(threads):
    def work(first, behind):
        if first:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), taken_from_torch():
        split(work, 8)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(torch.__version__.startswith("2.7."), reason="with torch 2.7 the last bits of products depend on the number of threads")
@pytest.mark.parametrize("threads", [2, 3, 5], indirect=True)
@pytest.mark.parametrize("shape", [(128, 784, 128), (512, 784, 100), (10, 900, 2000), (1000, 3000, 7)])
def test_products_have_the_same_bits_on_any_number_of_threads(threads, shape):
    generator = torch.Generator().manual_seed(0)
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner, generator=generator), torch.randn(columns, inner, generator=generator).T
    bias = torch.randn(columns, generator=generator)
    alone, moved = product(left, right), affine(left, right.T, bias)
    with taken_from_torch():
        assert torch.equal(product(left, right), alone)
        assert torch.equal(affine(left, right.T, bias), moved)
    torch.testing.assert_close(alone, left @ right, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(moved, left @ right + bias, rtol=1e-4, atol=1e-3)


# Two loops, which compile soon.
SHORT = """
import numpy as np
from polystep_snn.engine.loops import rates_of, row_entries
out, starts, columns, values = np.empty(2), np.empty(3, int), np.empty(20, np.uint32), np.empty(20)
rates_of(np.array([[1.0, 3.0], [0.0, 1.0]]), 2, 4, out)
row_entries(np.eye(2), starts, columns, values)
print(*out, *starts, *columns[:2])
"""


def run(environment, script=SCRIPT):
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.split(), done.stderr


@pytest.mark.slow
def test_a_cache_that_cannot_be_used_costs_no_run(tmp_path):
    kept, plain = tmp_path / "kept", {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    expected = ["0.5", "0.125", "0", "1", "2", "0", "1"], ""
    assert run(plain | {"NUMBA_CACHE_DIR": str(kept)}, SHORT) == expected
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert run(plain | {"NUMBA_CACHE_DIR": str(kept)}, SHORT) == expected
    for path in files:
        path.write_bytes(path.read_bytes()[:50] if path.suffix == ".nbi" else b"\0" * 100)
    assert run(plain | {"NUMBA_CACHE_DIR": str(kept)}, SHORT) == expected
    (tmp_path / "file").touch()
    assert run(plain | {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache")}, SHORT) == expected
    assert run({k: v for k, v in plain.items() if k != "HOME"} | {"XDG_CACHE_HOME": "/proc/none"}, SHORT) == expected


@pytest.mark.parametrize("why", ["missing", "switched off"])
def test_without_numba_torch_computes_the_same_and_says_so_once(tmp_path, why):
    (tmp_path / "numba.py").write_text("raise ImportError('numba is not here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    found, said = run(os.environ | ({"PYTHONPATH": path} if why == "missing" else {"NUMBA_DISABLE_JIT": "1"}))
    assert said.count("running without compiled loops") == 1
    assert ("numba is not here" if why == "missing" else "NUMBA_DISABLE_JIT") in said
    expected, _ = run(os.environ.copy())
    assert (found[0], expected[0]) == ("False", "True")
    assert float(found[1]) == pytest.approx(float(expected[1]), rel=1e-4)


@pytest.mark.slow
def test_a_cpu_without_avx512_finds_the_same(tmp_path):
    """Lanes are narrower then, numbers that are not zero are found one by one, and changes are looked up one after the other."""
    plain = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt"}
    script = SCRIPT.replace("network = SpikingNetwork([20, 12, 3]", "network = SpikingNetwork([900, 12, 3]").replace(
        "torch.full((4, 20), 0.5)), torch.arange(4) % 3", "torch.eye(40, 900)), torch.arange(40) % 3"
    )
    script += "from polystep_snn.engine.loops.lanes import LANES\nprint(LANES)\n"
    narrow, _ = run(plain | {"NUMBA_CACHE_DIR": str(tmp_path)}, script)
    own, _ = run(os.environ.copy(), script)
    assert narrow[0] == own[0] == "True"
    assert narrow[2] == "32"
    assert float(narrow[1]) == pytest.approx(float(own[1]), rel=1e-4)
