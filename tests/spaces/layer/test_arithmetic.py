"""Compiled loops give torch's numbers."""

import pytest
import torch
from torch import nn

from polystep_snn.engine.compiled import kernels_on
from polystep_snn.spaces.layer.arithmetic import INTERVALS, Eager, Known, Loops, Seen, arithmetic_for
from polystep_snn.spaces.layer.head import end_of
from polystep_snn.spaces.layer.pairs import Pairs
from tests.spaces.layer.modules import LOSS

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
SIZES = pytest.mark.parametrize(("directions", "calls"), [(1, 1), (3, 2)])


@pytest.fixture(scope="module")
def loops():
    if not kernels_on(torch.device("cpu"), torch.float64, True).loops:
        pytest.skip("no compiled loops here")
    return Loops()


def numbers(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=dtype)


def same(found, expected):
    assert found.dtype == expected.dtype
    tolerance = 1e-10 if found.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def seen_of(directions, calls, dtype):
    """Eleven samples, five outputs, four inputs of the consumer."""
    return Seen(
        torch.arange(55, dtype=torch.uint8).view(11, 5) % INTERVALS,
        numbers(directions, 11, 5, dtype=dtype).sign(),
        torch.tensor(0.3, dtype=dtype),
        0.3 * numbers(directions, 11, 5, dtype=dtype),
        numbers(directions, calls, 11, 4, dtype=dtype),
        numbers(calls, 11, 4, dtype=dtype),
    )


@DTYPES
def test_outputs_are_measured_alike(loops, dtype):
    """In whatever order in memory."""
    outputs = 3 + numbers(5, 11, dtype=dtype).T
    (spread, intervals), (expected, places) = loops.measured(outputs), Eager().measured(outputs)
    same(spread, expected)
    assert torch.equal(intervals, places)
    bits = torch.tensor([-(2**63), 1, 2**40 + 5])
    signs = loops.signs(bits, outputs, (2, 10, 9))
    assert torch.equal(signs, Eager().signs(bits, outputs, (2, 10, 9)))
    assert signs.flatten()[:65].tolist() == [-1] * 63 + [1, 1]


@DTYPES
def test_the_end_is_the_same(loops, dtype):
    output, target = 5 * numbers(6, 4, dtype=dtype), torch.tensor([0, 3, 3, 1, 2, 0])
    output[1, 2:] = 100.0  # the first of the largest ones counts
    target[0] = output[0].argmax()
    found, expected = (end_of(LOSS, output, target, way) for way in (loops, Eager()))
    assert found.size == expected.size == 6
    assert 0 < expected.accuracy < 1
    for a, b in zip(found[1:], expected[1:], strict=True):
        same(a, b)
    same(expected.slopes, torch.softmax(output, 1) - nn.functional.one_hot(target, 4))


def test_samples_without_a_class_have_no_slopes(loops):
    output, target = numbers(6, 4), torch.tensor([0, 3, -100, 1, 2, -100])
    assert loops.entropy(output, target) is None
    slopes = end_of(LOSS, output, target, loops).slopes
    assert slopes[target < 0].abs().max() == 0
    assert slopes[target >= 0].abs().min() > 0


@DTYPES
@SIZES
@pytest.mark.parametrize("reach", ["all", "few", "many", "unknown"])
def test_slopes_are_the_same(loops, directions, calls, reach, dtype):
    """Two outputs share a partner."""
    seen, partners, table = seen_of(directions, calls, dtype), torch.tensor([3, 0, 0, 1, 2]), numbers(5, INTERVALS, dtype=dtype)
    reaches = torch.eye(5, 4) if reach == "few" else 1 - torch.eye(5, 4)
    pairs = Pairs(reaches.bool(), seen.own) if reach in ("few", "many") else None
    assert (pairs is not None and pairs.few is not None) == (reach == "few")
    given = (None, None, pairs) if reach == "unknown" else (table, partners, pairs)
    same(loops.slopes(seen, *given), Eager().slopes(seen, *given))


@DTYPES
@SIZES
def test_credit_learns_the_same(loops, directions, calls, dtype):
    """The last output gets another partner."""
    seen, found = seen_of(directions, calls, dtype), numbers(5, 4, dtype=dtype)
    found[4] = torch.tensor([0.0, 0.0, 900.0, 0.0])
    known = [
        Known(
            torch.tensor([3, 0, 0, 1, 1]),
            torch.tensor([1.0, 0.9, 0.8, 0.95], dtype=dtype).repeat(5, 1),
            numbers(5, INTERVALS, dtype=dtype).abs(),
            numbers(5, INTERVALS, dtype=dtype),
            torch.tensor(2.0, dtype=dtype),
        )
        for _ in range(2)
    ]
    loops.learn(known[0], found, seen)
    Eager().learn(known[1], found, seen)
    assert known[0].partners.tolist() == known[1].partners.tolist() == [3, 0, 0, 1, 2]
    for name, learned in vars(known[0]).items():
        same(learned, vars(known[1])[name])
    table = loops.table(known[0])
    same(table, Eager().table(known[1]))
    assert 0 < (table == 0).double().mean() < 1  # of some outputs it may be noise alone


def test_what_is_no_number_points_nowhere(loops):
    """Behind a threshold nobody would see it: no place of a table may be made of it."""
    outputs = torch.tensor([[torch.nan, torch.inf], [-torch.inf, 1.0]])
    assert loops.measured(outputs)[1].max() < INTERVALS


def test_loops_are_for_the_cpu_and_one_type_alone(loops):
    single, double = torch.zeros(2), torch.zeros(2).double()
    assert type(arithmetic_for([single, torch.zeros(2).long(), None], True)) is Loops
    assert type(arithmetic_for([single], False)) is Eager
    assert type(arithmetic_for([single, double], True)) is Eager
    assert type(arithmetic_for([single.bfloat16()], True)) is Eager
    assert type(arithmetic_for([single.to("meta")], True)) is Eager
