"""Compiled loops give torch's numbers."""

import pytest
import torch

from polystep_snn.engine.compiled import kernels_on
from polystep_snn.spaces.layer.arithmetic import INTERVALS, Eager, Loops, arithmetic_on

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loops():
    if not kernels_on(CPU, torch.float64, True).loops:
        pytest.skip("no compiled loops here")
    return Loops()


def numbers(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=dtype)


def same(found, expected, dtype):
    assert found.dtype == expected.dtype
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("directions", "calls"), [(1, 1), (3, 2)])
def test_loops_compute_what_torch_computes(loops, directions, calls, dtype):
    """Eleven samples, five outputs, of which two share a partner, four inputs of the consumer; in whatever order in memory."""
    eager, outputs = Eager(), 3 + numbers(5, 11, dtype=dtype).T
    (spread, intervals), (expected, places) = loops.measured(outputs), eager.measured(outputs)
    same(spread, expected, dtype)
    assert torch.equal(intervals, places)
    signs = numbers(directions, 11, 5, dtype=dtype).sign()
    partners, scale = torch.tensor([3, 0, 0, 1, 2]), torch.tensor(0.3, dtype=dtype)
    slopes, moved = numbers(calls, 11, 4, dtype=dtype), numbers(directions, calls, 11, 4, dtype=dtype)
    own, table = 0.3 * numbers(directions, 11, 5, dtype=dtype), numbers(5, INTERVALS, dtype=dtype)
    given = (table, intervals, partners, slopes, moved, own)
    for a, b in zip(loops.unexplained(*given), eager.unexplained(*given), strict=True):
        same(a, b, dtype)
    for seen in (own, own[:, :, :1]):
        same(loops.corrected(outputs, signs, seen, scale), eager.corrected(outputs, signs, seen, scale), dtype)
    given = (intervals, signs, moved[:, 0], partners, scale)
    for a, b in zip(loops.movements(*given), eager.movements(*given), strict=True):
        same(a, b, dtype)


def test_what_is_no_number_points_nowhere(loops):
    """Behind a threshold nobody would see it: no place of a table may be made of it."""
    outputs = torch.tensor([[torch.nan, torch.inf], [-torch.inf, 1.0]])
    assert loops.measured(outputs)[1].max() < INTERVALS


def test_loops_are_for_the_cpu_alone(loops):
    assert isinstance(arithmetic_on(CPU, torch.float32, True), Loops)
    assert isinstance(arithmetic_on(CPU, torch.float32, False), Eager)
    assert isinstance(arithmetic_on(CPU, torch.bfloat16, True), Eager)
    assert isinstance(arithmetic_on(torch.device("cuda"), torch.float32, True), Eager)
