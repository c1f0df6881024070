"""The pairs whose maps are known, the memory of a step, and what the benchmark claims, with fewer steps of training."""

import importlib
from pathlib import Path

import pytest
import torch

from polystep_snn.transport_maps import GaussianMap, PotentialMap, l2_uvp

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def transport():
    """The benchmark, imported as its script finds its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("transport")


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", ["gaussian-8", "convex-2", "convex-16"])
def test_known_maps_are_gradients_of_convex_functions(transport, name):
    """By Brenier's theorem they are optimal: their Jacobians are symmetric and positive definite everywhere."""
    pair = transport.make_pair(name, 3)
    for x in pair.source(5, generator()):
        step = 1e-5 * torch.eye(len(x), dtype=torch.float64)
        jacobian = (pair.map(x + step) - pair.map(x - step)) / 2e-5
        torch.testing.assert_close(jacobian, jacobian.T, rtol=0, atol=1e-7)
        assert torch.linalg.eigvalsh(jacobian)[0] > 0.05


def test_seeds_decide_pairs_and_samples(transport):
    a, b, c = (transport.samples(transport.make_pair("convex-2", seed), seed) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[3], c[3])
    # The target's samples do not belong to the source's: neighbours are as far from each other as strangers.
    assert not torch.allclose(transport.make_pair("convex-2", 1).map(a[0].double()).float(), a[1])


def test_memory_of_a_step_does_not_grow_with_inner_iterations(transport):
    rows = transport.transport_memory.measure(dim=4, batch=32)
    assert [row["iterations"] for row in rows] == [10, 100, 1_000]
    assert rows[0]["held_bytes"] == rows[1]["held_bytes"] == rows[2]["held_bytes"] > 0
    # The count does see what a graph keeps.
    assert rows[2]["unrolled_bytes"] > 50 * rows[0]["unrolled_bytes"] > 50 * rows[0]["held_bytes"]


def test_energy_distance_of_two_points_and_of_equal_distributions(transport):
    digits = importlib.import_module("transport_digits")
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    assert digits.energy_distance(a, b) == pytest.approx(2 * 3.5 - 1 - 2)
    same = torch.randn(2, 1_500, 4, generator=generator())
    assert abs(digits.energy_distance(*same)) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("gaussian-2", 0.1), ("gaussian-8", 0.5), ("gaussian-32", 2.0)])
@pytest.mark.parametrize("kind", ["linear", "identity"])
def test_maps_between_gaussians(transport, name, limit, kind):
    source, target, x, z = transport.samples(transport.make_pair(name, 5), 5)
    learned = PotentialMap(steps=700, coordinates=kind).fit(source, target)
    assert l2_uvp(learned.map(x), z) <= limit
    assert l2_uvp(learned.inverse(z), x) <= limit
    assert learned.report.converged
    assert learned.report.unconverged_steps == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convex-2", "convex-8", "convex-16"])
def test_maps_that_are_not_linear_have_at_most_half_the_linear_maps_error(transport, name):
    source, target, x, z = transport.samples(transport.make_pair(name, 5), 5)
    learned, linear = PotentialMap(steps=700).fit(source, target), GaussianMap().fit(source, target)
    assert l2_uvp(learned.map(x), z) <= l2_uvp(linear.map(x), z) / 2
    assert l2_uvp(learned.inverse(z), x) <= l2_uvp(linear.inverse(z), x) / 2


@pytest.mark.slow
def test_digits_are_made_from_noise_as_asked(transport):
    found = importlib.import_module("transport_digits").measure(5)
    assert found["potential"]["accuracy"] > 93 > 15 > found["linear, without labels"]["accuracy"]
    assert found["potential"]["energy_distance"] < found["linear a label"]["energy_distance"]
    assert found["potential"]["round_trip_error"] < 1e-3
