"""Every encoder: the same promises, and its own values by hand."""

import pytest
import torch

from polystep_snn import LIFParameters, Population
from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import ENCODERS, DirectCurrent, Latency, Poisson, Rate, Rows, make_encoder
from polystep_snn.snn.frames import Constant
from polystep_snn.snn.neurons import lif_initial_state, lif_step

CURRENTS = ("direct", "rows")


def encode(encoder, x, seed=0):
    return torch.stack(list(encoder(x, torch.Generator().manual_seed(seed))))


@pytest.mark.parametrize("name", ENCODERS)
def test_promises_of_every_encoder(name):
    encoder = make_encoder(name, 7)
    x = torch.rand(3, 14, generator=torch.Generator().manual_seed(1))
    frames = encoder(x)
    assert len(frames) == 7
    out = encode(encoder, x)
    assert out.shape == (7, 3, encoder.num_channels(14))
    assert out.dtype == x.dtype
    assert torch.equal(out, encode(encoder, x)), "one seed, one spike train"
    assert torch.equal(encode(encoder, x.double()).unique(), out.double().unique()) or name in CURRENTS
    if name not in CURRENTS:
        assert set(out.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3, 4)], ids=["1d", "uint8", "3d"])
def test_what_is_no_batch_of_intensities(name, x):
    with pytest.raises(InputError, match="flatten and scale"):
        make_encoder(name, 4)(x)


def test_rows_by_hand():
    x = torch.tensor([[0.0, 0.5, 1.0, -2.0, 3.0, 4.0]])
    assert encode(Rows(3), x)[:, 0].tolist() == [[0.0, 0.5], [1.0, -2.0], [3.0, 4.0]]
    assert encode(Rows(1), x)[:, 0].tolist() == x.tolist()
    assert torch.equal(encode(Rows(6), x)[:, 0, 0], x[0])
    assert Rows(28).num_channels(784) == 28
    for act in (lambda: Rows(4)(x), lambda: list(Rows(4)(x)), lambda: Rows(15).num_channels(784)):
        with pytest.raises(InputError, match=r"pixels cannot be read in (4|15) steps of equally many: choose a number"):
            list(act())


def test_direct_current_is_constant():
    x = torch.tensor([[0.25, 1.0]])
    frames = DirectCurrent(3)(x)
    assert isinstance(frames, Constant)
    assert torch.equal(torch.stack(list(frames)), x.expand(3, 1, 2))


def test_poisson_spikes_are_norses():
    from norse.torch.functional.encode import poisson_encode_step

    x = torch.rand(64, 9, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    expected = [poisson_encode_step(x, f_max=400.0, dt=0.002, generator=generator) for _ in range(5)]
    assert torch.equal(encode(Poisson(5, f_max=400.0, dt=0.002), x, seed=3), torch.stack(expected))


def test_rate_by_hand():
    x = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]])
    assert encode(Rate(4), x)[:, 0].T.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("num_steps", [1, 8, 15, 255])
def test_rate_counts_are_exact_for_all_gray_levels(num_steps):
    """Integer arithmetic on the 8-bit intensities is the reference: floor(k * T / 255) spikes."""
    levels = torch.arange(256)
    counts = encode(Rate(num_steps), (levels.float() / 255)[None]).sum(0)[0].long()
    assert torch.equal(counts, levels * num_steps // 255)


def test_rate_is_an_integrate_and_fire_neuron():
    """Threshold 1, no leak, soft reset; the membrane starts at the slack instead of 0."""
    p = LIFParameters.from_beta(1.0, reset="subtract")
    x = torch.rand(1, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    state = lif_initial_state(x, p)._replace(v=torch.full_like(x, 1e-4))
    for expected in Rate(50)(x):
        z, state = lif_step(x, state, p)
        assert torch.equal(z, expected)


def test_poisson_fires_as_often_as_it_should():
    out = encode(Poisson(4000), torch.tensor([[0.0, 0.1, 0.5, 1.0]]))
    rates = out.mean(0)[0]
    assert rates[0] == 0
    assert rates[3] == 1
    torch.testing.assert_close(rates[1:3], torch.tensor([0.1, 0.5]), atol=4 * 0.008, rtol=0)  # four standard errors


def test_latency_by_hand():
    x = torch.tensor([[0.0, 0.01, 0.5, 0.75, 1.0]])
    out = encode(Latency(5), x)[:, 0].T
    assert out.sum(1).tolist() == [0, 1, 1, 1, 1]
    assert out[1:].argmax(1).tolist() == [4, 2, 1, 0]


def test_population_responds_most_at_its_centre():
    out = encode(Population(100, fields=3), torch.tensor([[0.0, 0.5, 1.0]]))
    rates = out.mean(0).view(3, 3)
    assert rates.argmax(1).tolist() == [0, 1, 2]
    # A Gaussian of width 0.2 at distance 0.5: exp(-0.25 / 0.08) = 0.0439
    torch.testing.assert_close(rates, torch.tensor([[1.0, 0.04, 0.0], [0.04, 1.0, 0.04], [0.0, 0.04, 1.0]]))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_intensity(name, value):
    x = torch.full((2, 4), value)
    if name in CURRENTS and abs(value) < 2:
        assert next(iter(make_encoder(name, 4)(x)))[0, 0] == value  # a current has no such bounds
        return
    with pytest.raises(InputError, match="NaN"):
        make_encoder(name, 4)(x)


def test_constants_of_encoders():
    for make in (lambda: Population(4, fields=1), lambda: Population(4, width=0.0), lambda: Poisson(4, f_max=2000.0), lambda: Rate(4.5)):
        with pytest.raises(InputError, match=r"choose|whole number"):
            make()


def test_wrong_names_and_lengths():
    with pytest.raises(InputError, match="choose one of direct, rate"):
        make_encoder("morse", 5)
    with pytest.raises(InputError, match="num_steps is 0"):
        Rate(0)
