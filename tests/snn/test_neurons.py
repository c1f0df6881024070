"""The LIF neuron against traces computed by hand and against Norse."""

import pytest
import torch

from polystep_snn import LIF, LIFParameters
from polystep_snn.errors import InputError
from polystep_snn.snn.neurons import LIFState, lif_initial_state, lif_step


def run(p, inputs):
    """Spikes and membranes of one neuron under a list of currents."""
    state = lif_initial_state(torch.zeros(1, dtype=torch.float64), p)
    z, v = [], []
    for x in inputs:
        spike, state = lif_step(torch.tensor([x], dtype=torch.float64), state, p)
        z.append(spike.item())
        v.append(state.v.item())
    return z, v


def test_reset_to_zero():
    z, v = run(LIFParameters.from_beta(0.5), [0.75, 0.75, 0.75, 0.0])
    assert z == [0, 1, 0, 0]  # 0.75; 0.375 + 0.75 = 1.125 > 1; 0.75; 0.375
    assert v == [0.75, 0, 0.75, 0.375]


def test_reset_by_subtraction():
    z, v = run(LIFParameters.from_beta(0.5, reset="subtract"), [0.75, 0.75, 0.75, 0.0])
    assert z == [0, 1, 0, 0]  # 1.125 leaves 0.125; 0.0625 + 0.75 = 0.8125; 0.40625
    assert v == [0.75, 0.125, 0.8125, 0.40625]


def test_a_membrane_at_threshold_does_not_fire():
    assert run(LIFParameters.from_beta(1.0), [1.0, 0.0, 0.25])[0] == [0, 0, 1]


def test_bounds_hold_before_the_threshold_is_tested():
    z, v = run(LIFParameters.from_beta(1.0, v_min=-0.5, v_max=2.0, reset="subtract"), [-3.0, 1.25, 9.0])
    assert v == [-0.5, 0.75, 1.0]  # clipped from below; -0.5 + 1.25; clipped to 2, fires, 2 - 1
    assert z == [0, 0, 1]


def test_a_synapse_filters_the_current():
    p = LIFParameters(tau_mem_inv=500.0, tau_syn_inv=750.0)  # beta = 0.5, alpha = 0.25
    z, v = run(p, [0.5, 0.0, 0.0])
    assert v == [0.5, 0.375, 0.21875]  # i = 0.5, 0.125, 0.03125
    assert z == [0, 0, 0]


def test_beta_is_the_decimal_that_was_meant():
    assert LIFParameters.from_beta(0.9).beta == 0.9
    assert LIFParameters().beta == 0.95
    assert LIFParameters(tau_syn_inv=200.0).alpha == 0.8


def test_the_module_is_the_function():
    p = LIFParameters(tau_syn_inv=100.0)
    x = torch.rand(5, 4)
    state = LIFState(torch.rand(5, 4), torch.rand(5, 4))
    for a, b in zip(LIF(p)(x, state), lif_step(x, state, p), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else all(map(torch.equal, a, b))
    z, after = LIF(p)(x)
    assert torch.equal(after.i, x)
    assert z.shape == (5, 4)
    assert not list(LIF(p).parameters())


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"tau_mem_inv": 2000.0}, "beta is -1"),
        ({"tau_syn_inv": -5.0}, "alpha is 1.005"),
        ({"v_th": 0.0}, "v_th is 0"),
        ({"v_th": float("nan")}, "v_th is nan"),
        ({"reset": "soft"}, "reset is 'soft'"),
        ({"v_min": 0.5}, "v_min is 0.5"),
        ({"v_max": 1.0}, "v_max is 1"),
    ],
)
def test_constants_that_describe_no_neuron(change, names):
    with pytest.raises(InputError, match=names):
        LIF(LIFParameters(**change))


@pytest.mark.parametrize("subtract", [False, True])
def test_norses_lif_box(subtract):
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
    from norse.torch.functional.reset import reset_subtract, reset_value

    theirs = LIFBoxParameters(
        tau_mem_inv=torch.tensor(100.0, dtype=torch.float64), reset_method=reset_subtract if subtract else reset_value, method="heaviside"
    )
    ours = LIFParameters(tau_mem_inv=100.0, reset="subtract" if subtract else "zero")
    state, before = lif_initial_state(torch.zeros(50, dtype=torch.float64), ours), LIFBoxFeedForwardState(v=torch.zeros(50).double())
    fired = 0.0
    for x in torch.rand(100, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4 - 1:
        expected, before = lif_box_feed_forward_step(x, before, theirs)
        z, state = lif_step(0.1 * x, state, ours)
        assert torch.equal(z, expected)
        torch.testing.assert_close(state.v, before.v, rtol=0, atol=1e-12)
        fired += z.sum().item()
    assert fired > 100
