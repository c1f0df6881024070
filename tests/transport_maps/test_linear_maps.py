"""The diagonal and the linear map, against closed forms and POT."""

import numpy as np
import ot
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.transport_maps import DiagonalMap, GaussianMap, bures_matrix, l2_uvp, map_cosine


def samples(count=500, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mixing + torch.arange(dim)


def covariance(dim, seed):
    return torch.cov(samples(50, dim, seed).T)


def test_the_diagonal_map_is_gain_and_offset():
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    z = torch.tensor([[10.0, 7.0], [14.0, 8.0], [18.0, 9.0]])
    found = DiagonalMap().fit(x, z)
    torch.testing.assert_close(found.gain, torch.tensor([2.0, 0.5]).double())
    torch.testing.assert_close(found.offset, torch.tensor([10.0, 6.5]).double())
    torch.testing.assert_close(found.map(x), z)
    torch.testing.assert_close(found.inverse(z), x)


def test_the_linear_map_equals_pot():
    x, z = samples(seed=0), samples(400, seed=1)
    moments = (x.mean(0).numpy(), z.mean(0).numpy(), np.cov(x.numpy().T), np.cov(z.numpy().T))
    matrix, offset = ot.gaussian.bures_wasserstein_mapping(*moments)
    found = GaussianMap().fit(x, z)
    np.testing.assert_allclose(found.matrix.numpy(), matrix, rtol=1e-8)
    np.testing.assert_allclose(found.map(x).numpy(), x.numpy() @ matrix + offset, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.inverse(found.map(x)).numpy(), x.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 16, 64])
def test_bures_matrix_moves_one_covariance_to_the_other(dim):
    source, target = covariance(dim, 2).reshape(dim, dim), covariance(dim, 3).reshape(dim, dim)
    if dim > 49:
        source, target = (part + torch.eye(dim) for part in (source, target))
    found = bures_matrix(source, target)
    torch.testing.assert_close(found @ source @ found, target, rtol=1e-6, atol=1e-8 * float(target.abs().max()))
    assert torch.equal(found, found.T)
    assert torch.linalg.eigvalsh(found)[0] > 0


def test_commuting_covariances_have_the_square_root_of_their_ratio():
    axes, _ = torch.linalg.qr(samples(3, 3))
    source, target = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 36.0]).double()
    expected = axes * (target / source).sqrt() @ axes.T
    torch.testing.assert_close(bures_matrix(axes * source @ axes.T, axes * target @ axes.T), expected)


def test_samples_may_come_from_a_function_and_in_numpy():
    x, z = samples(seed=0), samples(seed=1)
    drawn = GaussianMap().fit(lambda n: x.repeat(n // len(x), 1), z.numpy())
    expected = GaussianMap().fit(x.repeat(200, 1), z)
    torch.testing.assert_close(drawn.map(x), expected.map(x))
    assert drawn.map(x.float()).dtype is torch.float32
    with pytest.raises(InputError, match="source returned 7 samples instead of 100000"):
        GaussianMap().fit(lambda n: x[:7], z)


@pytest.mark.parametrize("kind", [DiagonalMap, GaussianMap])
def test_bad_samples_are_named_in_one_line(kind):
    x, z = samples(seed=0), samples(seed=1)
    holed = x.clone()
    holed[3, 2] = torch.nan
    with pytest.raises(InputError, match=r"^source holds nan in sample 3, coordinate 2: leave out what is not finite$"):
        kind().fit(holed, z)
    with pytest.raises(InputError, match=r"^target holds nan"):
        kind().fit(x, holed)
    with pytest.raises(InputError, match=r"^target has 3 coordinates instead of 4"):
        kind().fit(x, z[:, :3])
    with pytest.raises(InputError, match=r"^source has shape \[4\]: give \[samples, coordinates\]"):
        kind().fit(x[0], z)
    with pytest.raises(InputError, match=r"^source holds int64: convert it"):
        kind().fit(x.long(), z)
    with pytest.raises(InputError, match=r"^target is of type list"):
        kind().fit(x, [[0.0] * 4])
    with pytest.raises(InputError, match=r"^target has 1 sample"):
        kind().fit(x, z[:1])
    with pytest.raises(InputError, match="has seen no samples: call fit first"):
        kind().map(x)
    fitted = kind().fit(x, z)
    with pytest.raises(InputError, match=r"^x has 2 coordinates instead of 4"):
        fitted.map(x[:, :2])
    with pytest.raises(InputError, match=r"^z holds nan"):
        fitted.inverse(holed)


def test_singular_covariances_are_named_in_one_line():
    x, z = samples(seed=0), samples(seed=1)
    with pytest.raises(InputError, match=r"^source has 4 samples of 4 coordinates, so its covariance is singular: give at least 5$"):
        GaussianMap().fit(x[:4], z)
    repeated = torch.cat([z[:, :3], z[:, :1] + z[:, 1:2]], 1)
    with pytest.raises(
        InputError, match=r"^the covariance of target is singular .*: leave out coordinates that do not vary or that repeat"
    ):
        GaussianMap().fit(x, repeated)
    constant = x.clone()
    constant[:, 1] = 0.1
    with pytest.raises(InputError, match=r"^coordinate 1 of source does not vary \(1 of 4 do not\): leave it out$"):
        DiagonalMap().fit(constant, z)


@pytest.mark.parametrize("kind", [DiagonalMap, GaussianMap])
def test_a_saved_map_is_the_same(kind, tmp_path):
    x, z = samples(seed=0), samples(seed=1)
    fitted = kind().fit(x, z)
    fitted.save(tmp_path / "map.safetensors")
    loaded = kind.load(tmp_path / "map.safetensors")
    assert torch.equal(loaded.map(x), fitted.map(x))
    assert torch.equal(loaded.inverse(z), fitted.inverse(z))


def test_l2_uvp_and_cosine():
    known = samples()
    assert l2_uvp(known, known) == 0
    assert l2_uvp(known.mean(0).expand_as(known), known) == pytest.approx(100)
    assert l2_uvp(known + 1, known) == pytest.approx(100 * 4 / float(known.var(0, unbiased=False).sum()))
    assert map_cosine(known, known, known - 1) == pytest.approx(1)
    assert map_cosine(known - 2, known, known - 1) == pytest.approx(-1)
    with pytest.raises(InputError, match="shapes are"):
        l2_uvp(known[:3], known)
