"""Norse's recurrent LIF modules become recurrent layers: spikes are those of its own forward pass."""

import norse.torch as norse
import pytest
import torch

from polystep_snn import InputError, MembraneReadout, SpikeCountReadout, from_norse
from polystep_snn.geometry import Recurrent

LINEAR, STATE = torch.nn.Linear, norse.SequentialState


def constants(v_leak=0.0):
    values = {"tau_syn_inv": 200.0, "tau_mem_inv": 100.0, "v_leak": v_leak, "v_reset": v_leak, "v_th": v_leak + 1.0}
    return norse.LIFParameters(**{name: torch.tensor(x, dtype=torch.float64) for name, x in values.items()}, method="heaviside")


def model_of(*modules):
    """In float64, with input weights at which neurons fire."""
    model = STATE(*modules).double()
    with torch.no_grad():
        for module in model:
            if isinstance(module, LINEAR):
                module.weight.mul_(20)
            elif hasattr(module, "input_weights"):
                module.input_weights.mul_(8)
                module.recurrent_weights.mul_(4)
    return model


def spikes_of(*shape):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.3).double()


def forward(model, x):
    """What every module puts out in every step of Norse's own forward pass, by its number."""
    out, state = {k: [] for k in range(len(model))}, [None] * len(model)
    for frame in x:
        for k, module in enumerate(model):
            if isinstance(module, LINEAR):
                frame = module(frame)
            else:
                frame, state[k] = module(frame, state[k])
            out[k].append(frame)
    return {k: torch.stack(frames) for k, frames in out.items()}


def hidden_spikes(network, x):
    state, found = network.initial_state(x.shape[1]), []
    for frame in x:
        spikes, state = network.step(frame, state)
        found.append(spikes)
    return [torch.stack(layer) for layer in zip(*found, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("autapses", [False, True])
@pytest.mark.parametrize("v_leak", [0.0, 0.25])
def test_cells_keep_their_spikes(v_leak, autapses):
    """A recurrent cell first, one behind other neurons, and a readout that fires; 50 steps in float64."""
    torch.manual_seed(0)
    p = constants(v_leak)
    first, behind = (norse.LIFRecurrentCell(n, m, p, autapses=autapses) for n, m in ((12, 15), (9, 8)))
    model = model_of(first, LINEAR(15, 9), norse.LIFCell(p), behind, LINEAR(8, 4), norse.LIFCell(p))
    network = from_norse(model)
    assert network.architecture == [12, Recurrent(15), 9, Recurrent(8), 4]
    assert isinstance(network.readout, SpikeCountReadout)
    assert bool(network.recurrents["0"].diagonal().any()) == autapses
    x = spikes_of(50, 8, 12)
    expected, found = forward(model, x), hidden_spikes(network, x)
    for spikes, k in zip(found, (0, 2, 3), strict=True):
        assert 0.02 < expected[k].mean() < 0.9
        assert torch.equal(spikes, expected[k]), k
    assert torch.equal(network(x)[0], expected[5].sum(0))
    network.recurrents["0"].zero_()
    assert not torch.equal(hidden_spikes(network, x)[0], expected[0])


@torch.no_grad()
def test_a_diagonal_that_was_set_later_acts_in_norse_and_here():
    """Norse empties it when a cell is made and in gradients, not in the forward pass."""
    torch.manual_seed(0)
    model = model_of(norse.LIFRecurrentCell(12, 15, constants()), LINEAR(15, 4), norse.LICell())
    model[0].recurrent_weights.fill_diagonal_(-30.0)
    x = spikes_of(50, 8, 12)
    network, expected = from_norse(model), forward(model, x)
    assert isinstance(network.readout, MembraneReadout)
    assert torch.equal(hidden_spikes(network, x)[0], expected[0])
    network.recurrents["0"].fill_diagonal_(0.0)
    assert not torch.equal(hidden_spikes(network, x)[0], expected[0])


@torch.no_grad()
@pytest.mark.parametrize("last", [norse.LIF, norse.LI])
def test_modules_of_whole_sequences_are_the_same(last):
    torch.manual_seed(0)
    p = constants()
    model = model_of(LINEAR(12, 10), norse.LIF(p), norse.LIFRecurrent(10, 15, p), LINEAR(15, 4), last(p) if last is norse.LIF else last())
    network, x = from_norse(model), spikes_of(50, 8, 12)
    assert network.architecture == [12, 10, Recurrent(15), 4]
    out, _ = model(x)
    assert out.std() > 1e-3
    if last is norse.LIF:
        assert torch.equal(network(x)[0], out.sum(0))
    else:
        assert torch.allclose(network(x)[0], out[-1], rtol=1e-5, atol=1e-9)


def test_weights_are_copies_in_their_dtype():
    cell = norse.LIFRecurrentCell(3, 4)
    network = from_norse(STATE(cell, LINEAR(4, 2), norse.LIBoxCell()))
    assert network.weights[0].dtype == torch.float32
    with torch.no_grad():
        cell.recurrent_weights.zero_()
    assert network.recurrents["0"].any()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (lambda: [norse.LSNNRecurrentCell(4, 3)], "module 0 is LSNNRecurrentCell, whose thresholds adapt, expected nn.Linear"),
        (lambda: [norse.LIFRefracRecurrentCell(4, 3)], "module 0 is LIFRefracRecurrentCell, whose neurons rest after a spike, expected"),
        (lambda: [norse.LIFAdExRecurrentCell(4, 3)], "module 0 is LIFAdExRecurrentCell, whose currents adapt and whose membranes"),
        (lambda: [norse.LIFExRecurrentCell(4, 3)], "module 0 is LIFExRecurrentCell, whose membranes rise exponentially"),
        (lambda: [LINEAR(4, 4), norse.LSNNCell()], "module 1 is LSNNCell, whose thresholds adapt: choose one of LIFBoxCell, LIFCell"),
        (
            lambda: [LINEAR(4, 4), norse.LIFRecurrentCell(4, 3)],
            r"module 1 \(LIFRecurrentCell\) has input weights of its own, but weights come before it: multiply both into its input_weights",
        ),
        (lambda: [norse.LIFRecurrentCell(4, 3)], "ends the network and is recurrent, but no readout is here: end with a dense layer"),
        (lambda: [norse.LIFRecurrentCell(4, 3), LINEAR(4, 2), norse.LICell()], "takes 4 inputs, but module 0 .* sends 3"),
        (
            lambda: [norse.LIFRecurrent(4, 3), LINEAR(3, 2), norse.LICell()],
            r"module 0 \(LIFRecurrent\) takes whole sequences, but module 2 \(LICell\) single steps: choose LIFRecurrentCell",
        ),
        (
            lambda: [norse.LIFRecurrentCell(4, 3, norse.LIFParameters(v_reset=torch.tensor(-1.0))), LINEAR(3, 2), norse.LICell()],
            "v_reset is -1 and v_leak 0, but they are one here",
        ),
        (
            lambda: [norse.LIFRecurrentCell(4, 3, recurrent_weights=torch.ones(2, 2)), LINEAR(3, 2), norse.LICell()],
            r"has recurrent weights \[2, 2\] for 3 neurons: give one from each to each",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(modules, message):
    with pytest.raises(InputError, match=message) as caught:
        from_norse(STATE(*modules()))
    assert "\n" not in str(caught.value)
