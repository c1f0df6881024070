"""What Norse's users write: integrators with a synapse, models within models, dropout, modules of their own."""

from dataclasses import replace

import norse.torch as norse
import pytest
import torch

from polystep_snn import CrossEntropy, InputError, PolyStep, from_norse
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.convert import quantized
from polystep_snn.polystep.cost import rate_scale

LINEAR, STATE = torch.nn.Linear, norse.SequentialState


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = LINEAR(4, 3), norse.LIFBoxCell()


def outputs(model, x):
    state = None
    with torch.no_grad():
        for frame in x:
            out, state = model(frame, state)
    return out


@pytest.mark.parametrize("cell", [norse.LICell, norse.LIBoxCell])
@pytest.mark.parametrize("hidden", [norse.LIFCell, norse.LIFBoxCell])
def test_membranes_are_norses(cell, hidden):
    torch.manual_seed(0)
    model = STATE(LINEAR(6, 12), hidden(), LINEAR(12, 3), cell()).double()
    with torch.no_grad():
        model[0].weight *= 30
    x = (torch.rand(30, 7, 6, dtype=torch.float64) < 0.5).double()
    found, _ = from_norse(model)(x)
    assert torch.allclose(found, outputs(model, x), rtol=1e-5, atol=1e-9)
    assert found.std() > 1e-3


def test_models_within_models_and_what_does_nothing():
    torch.manual_seed(0)
    parts = LINEAR(6, 12), norse.LIFBoxCell(), LINEAR(12, 3), norse.LIBoxCell()
    with torch.no_grad():
        parts[0].weight *= 30
    x = (torch.rand(30, 7, 6) < 0.5).float()
    flat, _ = from_norse(STATE(*parts))(x)
    nested = STATE(STATE(STATE(parts[0]), parts[1]), torch.nn.Dropout(), torch.nn.Identity(), torch.nn.Sequential(*parts[2:]))
    assert torch.equal(from_norse(nested)(x)[0], flat)
    assert flat.std() > 1e-3


def test_a_module_of_ones_own_is_refused():
    with pytest.raises(InputError, match=r"the model is Own: give a norse\.torch\.SequentialState"):
        from_norse(Own())
    with pytest.raises(InputError, match="module 0 is Own, expected"):
        from_norse(STATE(Own()))


def test_a_readout_with_a_synapse_is_trained_and_not_quantized():
    network = from_norse(STATE(LINEAR(6, 12), norse.LIFBoxCell(), LINEAR(12, 3), norse.LICell()))
    x, y = 20 * torch.rand(9, 40, 6), torch.arange(40) % 3
    expected = CrossEntropy(rate_scale(network.readout.full_scale(9)))(network(x)[0].T, y).mean()
    for method in (PolyStep(network, compile=False), SurrogateBPTT(network, compile=False)):
        torch.testing.assert_close(method.step(x, y).loss, expected)
        assert all(p.grad.abs().sum() > 0 for p in network.weights)
    network.readout = replace(network.readout, i_0=(0.1, 0.0, 0.0))
    with pytest.raises(InputError, match="the readout has a current at the start, which is not trained here: set i_0 to None"):
        PolyStep(network, compile=False).step(x, y)
    with pytest.raises(InputError, match=r"keeps 0\.8 of its current, which is not carried over to the chip"):
        quantized(network)
