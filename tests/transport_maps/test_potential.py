"""Both maps of one potential: values, labels, files, what is refused. Networks and steps are small here; the claims are slow tests."""

import json

import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.transport_maps import ConvergenceError, DiagonalMap, GaussianMap, PotentialMap, l2_uvp
from polystep_snn.transport_maps import store as map_store
from polystep_snn.transport_maps.coordinates import coordinates

SMALL = {"widths": (16, 16), "steps": 150, "batch_size": 256}


def gaussian(count, seed, dim=2):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bent(x):
    """The gradient of a convex function of each coordinate."""
    return x + 2 * torch.tanh(2 * x)


@pytest.fixture(scope="module")
def pair():
    return gaussian(5_000, 0), bent(gaussian(5_000, 1))


@pytest.fixture(scope="module")
def fitted(pair):
    return PotentialMap(**SMALL, tolerance=1e-9).fit(*pair)


def test_the_map_is_learnt_and_its_inverse_with_it(pair, fitted):
    x = gaussian(2_000, 2)
    linear = GaussianMap().fit(*pair)
    assert l2_uvp(fitted.map(x), bent(x)) < l2_uvp(linear.map(x), bent(x)) / 2
    assert l2_uvp(fitted.inverse(bent(x)), x) < l2_uvp(linear.inverse(bent(x)), x) / 2
    torch.testing.assert_close(fitted.inverse(fitted.map(x)), x, rtol=0, atol=1e-7)


def test_the_map_is_the_gradient_of_the_potential(fitted):
    x, step = gaussian(20, 3), 1e-5
    for k in range(2):
        ahead, behind = x.clone(), x.clone()
        ahead[:, k] += step
        behind[:, k] -= step
        slope = (fitted.potential(ahead) - fitted.potential(behind)) / (2 * step)
        torch.testing.assert_close(slope, fitted.map(x)[:, k], rtol=1e-6, atol=1e-6)


def test_the_report_says_what_it_measures(pair, fitted):
    x, z = gaussian(4_000, 4), bent(gaussian(4_000, 5))
    report = fitted.evaluate(x, z)
    solution = fitted.solve(z)
    assert report.converged
    assert report.residual == float(solution.residual.max()) <= 1e-9
    assert report.max_iterations == int(solution.iterations.max()) > 1
    assert report.primal == pytest.approx(float((x - fitted.map(x)).square().sum(1).mean() / 2))
    # The potentials of the dual by their definition: the one of z is the c-transform of the one of x.
    y = fitted.inverse(z)
    of_x = x.square().sum(1) / 2 - fitted.potential(x)
    of_z = (y - z).square().sum(1) / 2 - (y.square().sum(1) / 2 - fitted.potential(y))
    assert report.dual == pytest.approx(float(of_x.mean() + of_z.mean()))
    assert report.gap == pytest.approx(report.primal - report.dual)
    # Where the target is exactly what the map makes of the source there is no gap.
    exact = fitted.evaluate(x, fitted.map(x))
    assert exact.gap == pytest.approx(0, abs=1e-8)
    assert exact.gap_error > 0
    # No pair of potentials has a larger dual value than any coupling's cost: this one couples independent samples.
    assert report.dual <= float((x - z).square().sum(1).mean() / 2)


def test_what_has_not_converged_is_an_error_or_a_flag(pair):
    potential = PotentialMap(**(SMALL | {"steps": 5}), tolerance=1e-9, training_tolerance=1e-9, max_iterations=1).fit(*pair)
    assert not potential.report.converged
    assert potential.report.residual > 1e-9
    assert potential.report.unconverged_steps == 5
    z = pair[1][:50]
    with pytest.raises(ConvergenceError, match=r"^\d+ of 50 points have not reached the tolerance 1e-09 after 1 iterations"):
        potential.inverse(z)
    solution = potential.solve(z)
    assert not solution.converged.any()
    assert solution.points.isfinite().all()


def test_labels_decide_where_points_go():
    """Label 1 is moved to the left, label 0 to the right; they are of other frequencies in the target."""
    x_labels, z_labels = torch.arange(3_000) % 2, (torch.arange(3_000) % 3 > 0).long()
    shift = torch.tensor([[4.0, 0.0], [-4.0, 0.0]]).double()
    x, z = gaussian(3_000, 6), bent(gaussian(3_000, 7)) + shift[z_labels]
    found = PotentialMap(num_labels=2, **SMALL).fit(x, z, x_labels, z_labels)
    new = gaussian(1_000, 8)
    for label in (0, 1):
        labels = torch.full((1_000,), label)
        mapped = found.map(new, labels)
        linear = GaussianMap().fit(x[x_labels == label], z[z_labels == label])
        known = bent(new) + shift[label]
        assert l2_uvp(mapped, known) < l2_uvp(linear.map(new), known) / 2
        torch.testing.assert_close(found.inverse(mapped, labels), new, rtol=0, atol=1e-2)
    with pytest.raises(InputError, match=r"^x has no labels: give one of 0 to 1 for each of the 1000 samples$"):
        found.map(new)
    with pytest.raises(InputError, match=r"^labels of x go from 0 to 2: give 0 to 1$"):
        found.map(new[:3], torch.arange(3))
    with pytest.raises(InputError, match=r"^labels of z are float32 of shape \[2\]: give whole numbers of shape \[3\]$"):
        found.inverse(new[:3], torch.zeros(2))
    with pytest.raises(InputError, match=r"^label 1: target has 0 samples: give at least 2$"):
        PotentialMap(num_labels=2, **SMALL).fit(x, z, x_labels, torch.zeros(3_000, dtype=torch.int64))
    drawn = PotentialMap(num_labels=2, num_drawn=3_000, **SMALL).fit(lambda n: (x, x_labels), lambda n: (z, z_labels))
    assert torch.equal(drawn.map(new, labels), found.map(new, labels))


def test_a_seed_decides_the_map_and_precision_follows_the_samples(pair):
    x, z = (part[:500].float() for part in pair)
    found = [PotentialMap(**SMALL | {"steps": 3}, seed=seed).fit(x, z).map(x) for seed in (0, 0, 1)]
    assert found[0].dtype is torch.float32
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("kind", ["linear", "diagonal", "identity"])
def test_coordinates_make_a_linear_map_the_identity_and_keep_inner_products(pair, kind):
    x, z = pair
    labels = torch.zeros(len(x), dtype=torch.int64)
    frame = coordinates(kind, x, labels, z, labels, 1)
    known = {"linear": GaussianMap().fit(x, z).map(x), "diagonal": DiagonalMap().fit(x, z).map(x), "identity": x}[kind]
    inner_x, inner_z = frame.of_source(x, labels), frame.of_target(z, labels)
    torch.testing.assert_close(frame.to_target(inner_x, labels), known)
    torch.testing.assert_close(frame.to_source(inner_x, labels), x)
    torch.testing.assert_close(frame.to_target(inner_z, labels), z)
    products = ((x - frame.source_mean) * (z - frame.target_mean)).sum(1)
    torch.testing.assert_close(frame.scale**2 * (inner_x * inner_z).sum(1), products)
    assert float(inner_x.square().mean()) == pytest.approx(1)


def test_a_saved_map_is_the_same(pair, fitted, tmp_path):
    path = tmp_path / "map.safetensors"
    fitted.save(path)
    loaded = PotentialMap.load(path)
    x, z = (part[:100] for part in pair)
    assert torch.equal(loaded.map(x), fitted.map(x))
    assert torch.equal(loaded.inverse(z), fitted.inverse(z))
    assert loaded.report == fitted.report
    assert loaded.settings == fitted.settings


def test_files_that_are_none_of_ours_are_refused_in_one_line(fitted, tmp_path):
    path = tmp_path / "map.safetensors"
    with pytest.raises(InputError, match=r"there is no file .*: name one that a PotentialMap was saved to"):
        PotentialMap.load(path)
    fitted.save(path)
    with pytest.raises(InputError, match=r"holds a PotentialMap, not a GaussianMap: load it as what it is"):
        GaussianMap.load(path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-8])
    with pytest.raises(InputError, match="is damaged"):
        PotentialMap.load(path)
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="its checksum is another one"):
        PotentialMap.load(path)
    fitted.save(path)
    tensors, meta = map_store.load(path, "PotentialMap")
    for changed in ({"widths": [8, 8]}, {"num_labels": 2}, {"nothing": 1}):
        meta_now = json.loads(json.dumps({k: v for k, v in meta.items() if k not in ("map", "schema")}))
        meta_now["settings"] |= changed
        map_store.save(path, "PotentialMap", tensors, meta_now)
        with pytest.raises(InputError, match="is damaged"):
            PotentialMap.load(path)


def test_bad_samples_and_settings_are_named_in_one_line(pair, fitted):
    x, z = (part[:100] for part in pair)
    holed = x.clone()
    holed[4, 1] = torch.inf
    with pytest.raises(InputError, match=r"^source holds inf in sample 4, coordinate 1"):
        PotentialMap(**SMALL).fit(holed, z)
    with pytest.raises(InputError, match=r"^target has 1 coordinates instead of 2"):
        PotentialMap(**SMALL).fit(x, z[:, :1])
    with pytest.raises(InputError, match=r"^source has 2 samples of 2 coordinates, so its covariance is singular: give at least 3$"):
        PotentialMap(**SMALL).fit(x[:2], z)
    with pytest.raises(InputError, match=r"^the covariance of target is singular"):
        PotentialMap(**SMALL).fit(x, z[:, :1].repeat(1, 2))
    with pytest.raises(InputError, match=r"^this PotentialMap has seen no samples: call fit first$"):
        PotentialMap().map(x)
    with pytest.raises(InputError, match=r"^z has 1 coordinates instead of 2"):
        fitted.inverse(z[:, :1])
    with pytest.raises(InputError, match=r"^there is no setting learning: choose among num_labels, widths"):
        PotentialMap(learning=0.1)
    with pytest.raises(InputError, match=r"^floor is 1.5: choose 1e-4 to 0.9$"):
        PotentialMap(floor=1.5)
    with pytest.raises(InputError, match=r"^coordinates is 'nothing': choose one of linear, diagonal, identity$"):
        PotentialMap(coordinates="nothing")
    with pytest.raises(InputError, match=r"^widths is \[\]: give at least one"):
        PotentialMap(widths=())
