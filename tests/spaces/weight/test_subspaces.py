"""Directions of parameters: orthonormal, drawn anew, and the same whether written out or expanded."""

import math

import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.subspaces import SUBSPACES, AdaptiveLowRank, FactoredSpace, FullSpace, HybridLowRank, SparseProjection

SMALL = {
    "full": FullSpace(),
    "hybrid": HybridLowRank(3),
    "adaptive": AdaptiveLowRank(4, aligned=0.5),
    "factored": FactoredSpace(5),
    "sparse": SparseProjection(4),
}
SHAPES = [(6, 7), (5,), (), (4, 3, 2), (1, 9), (8, 1)]


def draw(subspace, shape, seed=0, history=None, dtype=torch.float64):
    return subspace.draw("w", torch.zeros(shape, dtype=dtype), torch.Generator().manual_seed(seed), history)


def test_every_subspace_is_tested():
    assert SMALL.keys() == SUBSPACES.keys()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("subspace", SMALL.values(), ids=SMALL)
class TestEverySubspace:
    def test_expanding_is_the_sum_of_directions(self, subspace, shape):
        part = draw(subspace, shape)
        coordinates = torch.randn(part.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        directions = part.directions(0, part.size)
        assert directions.shape == (part.size, *shape)
        torch.testing.assert_close(part.expand(coordinates), torch.tensordot(coordinates, directions, 1))
        middle = part.size // 2
        assert torch.equal(torch.cat([part.directions(0, middle), part.directions(middle, part.size)]), directions)

    def test_directions_have_length_one(self, subspace, shape):
        part = draw(subspace, shape)
        flat = part.directions(0, part.size).reshape(part.size, -1)
        torch.testing.assert_close(flat.norm(dim=1), torch.ones(part.size).double())
        if not isinstance(subspace, FactoredSpace):
            torch.testing.assert_close(flat @ flat.T, torch.eye(part.size).double(), rtol=0, atol=1e-12)

    def test_rows_divide_the_coordinates(self, subspace, shape):
        part = draw(subspace, shape)
        assert 1 <= part.size <= max(1, math.prod(shape))
        assert part.size % part.row == 0

    def test_half_precision_is_computed_in_single(self, subspace, shape):
        part = draw(subspace, shape, dtype=torch.bfloat16)
        assert part.directions(0, 1).dtype == part.expand(torch.ones(part.size)).dtype == torch.float32


@pytest.mark.parametrize("name", ["hybrid", "adaptive", "factored", "sparse"])
def test_seeds_decide_what_is_drawn(name):
    a, b, c = (draw(SMALL[name], (6, 7), seed).directions(0, 3) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_sizes():
    assert draw(FullSpace(), (128, 784)).size == 128 * 784
    assert draw(HybridLowRank(8), (128, 784)).size == 128 * 8
    assert draw(HybridLowRank(8), (10, 8)).size == 80  # whole
    assert draw(HybridLowRank(8), (128,)).size == 128
    assert draw(FactoredSpace(64), (128, 784)).size == 64
    assert draw(SparseProjection(1000), (128, 784)).size == 101
    assert draw(SparseProjection(1000), (10,)).size == 1


def test_low_rank_reaches_all_weights_over_the_draws():
    subspace = HybridLowRank(2)
    rows = torch.cat([draw(subspace, (3, 10), seed).right for seed in range(5)])
    assert torch.linalg.matrix_rank(rows) == 10


def test_rows_of_the_history_are_followed():
    """History of rank two: its row space is among the directions, the rest is new."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(2, 20, dtype=torch.float64, generator=generator)
    history = torch.randn(9, 2, dtype=torch.float64, generator=generator) @ rows
    part = draw(AdaptiveLowRank(8, aligned=0.25), (9, 20), history=history)
    inside = rows @ part.right.T @ part.right
    torch.testing.assert_close(inside, rows, rtol=0, atol=1e-9)
    torch.testing.assert_close(part.right @ part.right.T, torch.eye(8).double(), rtol=0, atol=1e-12)
    blind = draw(HybridLowRank(8), (9, 20)).right
    assert (rows - rows @ blind.T @ blind).norm() > 0.5 * rows.norm()


def test_a_history_of_zeros_is_none():
    zeros = torch.zeros(9, 20, dtype=torch.float64)
    assert torch.equal(draw(AdaptiveLowRank(8), (9, 20), history=zeros).right, draw(AdaptiveLowRank(8), (9, 20)).right)


def test_a_million_weights_take_few_bytes():
    """12 bytes a weight, whatever the number of coordinates; one direction is written out at a time."""
    part = draw(SparseProjection(1000), (1_000_003,), dtype=torch.float32)
    assert part.size == 1001
    assert part.order.nbytes + part.signs.nbytes <= 12 * 1_000_003
    last = part.directions(1000, 1001)
    assert (last != 0).sum() == 3
    torch.testing.assert_close(last.norm(), torch.tensor(1.0))
    moved = part.expand(torch.ones(part.size))
    assert (moved != 0).all()
    torch.testing.assert_close(moved.square().sum(), torch.tensor(1001.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HybridLowRank(0), "rank is 0"),
        (lambda: HybridLowRank(2.5), "rank is 2.5"),
        (lambda: AdaptiveLowRank(4, aligned=1.5), "aligned is 1.5"),
        (lambda: AdaptiveLowRank(4, memory=1.0), "memory is 1"),
        (lambda: FactoredSpace(-1), "count is -1"),
        (lambda: SparseProjection(0), "count is 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
