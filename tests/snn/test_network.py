"""Networks and readouts by hand, in pieces, and against Norse."""

import pytest
import torch

from polystep_snn import DirectCurrent, LIFParameters, MembraneReadout, SpikeCountReadout, SpikingNetwork, from_norse
from polystep_snn.errors import InputError
from polystep_snn.snn.calibrate import calibrate_thresholds
from polystep_snn.snn.record import record

HALF = LIFParameters.from_beta(0.5)


def one_one_one(readout):
    """One input, one hidden neuron, one output; all weights 0.75, the readout's bias 0.5."""
    network = SpikingNetwork([1, 1, 1], HALF, readout).double()
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.75 if p.ndim == 2 else 0.0)
        network.linears[1].bias.fill_(0.5)
    return network


# Input 1 in every step: the hidden membrane goes 0.75, 1.125, 0.75, 1.125: spikes 0, 1, 0, 1. Readout currents 0.5, 1.25, 0.5, 1.25.
@pytest.mark.parametrize(
    ("readout", "expected"),
    [
        (MembraneReadout(), 3.5),
        (MembraneReadout(decay=0.5), 0.5 / 8 + 1.25 / 4 + 0.5 / 2 + 1.25),
        (SpikeCountReadout(HALF), 2.0),  # 0.5; 1.5 fires; 0.5; 1.5 fires
        (SpikeCountReadout(LIFParameters.from_beta(0.5, v_th=2.0), residual=0.5), 0.5 / 2 * 1.875),  # 0.5; 1.5; 1.25; 1.875 never > 2
    ],
    ids=["membrane", "leaky", "count", "residual"],
)
def test_readouts_by_hand(readout, expected):
    output, state = one_one_one(readout)(torch.ones(4, 1, 1).double())
    assert output.item() == expected
    assert state.hidden[0].v.item() == 0.0


@pytest.mark.parametrize("readout", [MembraneReadout(0.9), SpikeCountReadout(residual=0.5)], ids=["membrane", "count"])
def test_a_sequence_in_pieces(readout):
    network = SpikingNetwork([6, 5, 4, 3], LIFParameters(tau_syn_inv=300.0, v_th=0.2), readout)
    x = (torch.rand(9, 2, 2, 3) < 0.5).float()  # trailing dimensions are flattened
    whole, _ = network(x)
    _, state = network(x[:4])
    pieces, _ = network(x[4:], state)
    assert torch.equal(whole, pieces)


def test_a_constant_input_is_a_repeated_one():
    network = SpikingNetwork([6, 5, 3])
    image = torch.rand(4, 6)
    assert torch.equal(network(DirectCurrent(8)(image))[0], network(image.expand(8, 4, 6))[0])


def test_a_recording_is_the_forward_pass():
    network = SpikingNetwork([6, 5, 4, 3], LIFParameters(v_th=0.2), SpikeCountReadout(LIFParameters(v_th=0.2)))
    x = (torch.rand(9, 1, 6) < 0.7).float()
    recording = record(network, x)
    assert torch.equal(recording.readout[-1], network(x)[0][0])
    assert [tuple(s.shape) for s in recording.spikes] == [(9, 5), (9, 4)]
    assert torch.equal(recording.inputs, x[:, 0])


def test_a_forward_pass_keeps_no_graph():
    output, state = SpikingNetwork([6, 5, 3])(torch.rand(9, 2, 6))
    assert output.grad_fn is None
    assert state.hidden[0].v.grad_fn is None


def test_initial_weights_follow_the_generator():
    a, b, c = (SpikingNetwork([9, 4, 3], generator=torch.Generator().manual_seed(s)).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["linears.0.weight"], c["linears.0.weight"])
    assert a["linears.0.weight"].abs().max() <= 1 / 3
    assert not a["linears.0.bias"].any()


def test_calibrated_layers_fire_at_about_the_target():
    network = SpikingNetwork([50, 40, 30, 3], LIFParameters(v_min=-0.5), generator=torch.Generator().manual_seed(0))
    image = torch.rand(64, 50, generator=torch.Generator().manual_seed(0)) * 0.05
    assert record(network, image[:1].expand(20, 1, 50)).spikes[0].sum() == 0
    calibrate_thresholds(network, lambda: DirectCurrent(20)(image), 0.05)
    rates = torch.stack([torch.stack([s.mean() for s in record(network, x.expand(20, 1, 50)).spikes]) for x in image]).mean(0)
    assert ((rates > 0.05 / 2) & (rates < 0.05 * 2)).all(), rates
    for p in network.neurons:
        assert p.v_th == 2 ** round(torch.log2(torch.tensor(p.v_th)).item())
        assert p.v_min == -0.5 * p.v_th


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikingNetwork([5]), "architecture is"),
        (lambda: SpikingNetwork([5, 0, 3]), "all at least 1"),
        (lambda: SpikingNetwork([5, 4, 3], [HALF, HALF]), "2 neuron parameters for 1 hidden"),
        (lambda: MembraneReadout(decay=1.5), "decay is 1.5"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.zeros(2, 1, 6)), r"is \[1, 6\], but this network takes 5"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.zeros(2, 1, 5).double()), "convert it"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.zeros(0, 1, 5)), "no timesteps"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.zeros(2, 5)), r"is \[5\], but"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.full((2, 1, 5), float("nan"))), "the input contains NaN"),
        (lambda: SpikingNetwork([5, 4, 3])(torch.zeros(2, 1, 5), SpikingNetwork([5, 4, 3]).initial_state(2)), "another batch or network"),
        (lambda: SpikeCountReadout(residual=float("nan")), "residual is nan"),
        (lambda: LIFParameters(v_min=float("nan")).checked(), "v_min is nan"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()


def norse_model(cells, sizes=(20, 15, 10, 5)):
    import norse.torch as norse

    torch.manual_seed(0)
    layers = []
    for n, m, cell in zip(sizes[:-1], sizes[1:], cells, strict=True):
        linear = torch.nn.Linear(n, m).double()
        with torch.no_grad():
            linear.weight.mul_(40)
        layers += [linear, cell]
    return norse.SequentialState(*layers)


def norse_spikes(model, x):
    """Spikes (or voltages) of every neuron layer in every step."""
    out, state = [], [None] * len(model)
    for frame in x:
        row = []
        for k, module in enumerate(model):
            if k % 2:
                frame, state[k] = module(frame, state[k])
                row.append(frame)
            else:
                frame = module(frame)
        out.append(row)
    return [torch.stack(layer) for layer in zip(*out, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["LIFBoxCell", "LIFCell"])
@pytest.mark.parametrize("v_leak", [0.0, 0.25])
def test_a_norse_network_keeps_its_spikes(kind, v_leak):
    import norse.torch as norse
    from norse.torch.functional.lif_box import LIFBoxParameters

    constants = {"v_leak": torch.tensor(v_leak).double(), "v_reset": torch.tensor(v_leak).double(), "method": "heaviside"}
    p = LIFBoxParameters(**constants) if kind == "LIFBoxCell" else norse.LIFParameters(**constants)
    model = norse_model([getattr(norse, kind)(p) for _ in range(3)])
    x = (torch.rand(60, 8, 20, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    expected = norse_spikes(model, x)
    network = from_norse(model)
    assert isinstance(network.readout, SpikeCountReadout)
    state = network.initial_state(8)
    for t, frame in enumerate(x):
        spikes, state = network.step(frame, state)
        for layer, z in enumerate(spikes):
            assert torch.equal(z, expected[layer][t])
    assert torch.equal(network(x)[0], expected[2].sum(0))
    assert all(layer.sum() > 50 for layer in expected)


@torch.no_grad()
def test_a_norse_integrator_becomes_a_membrane_readout():
    import norse.torch as norse
    from norse.torch.module.leaky_integrator_box import LIBoxCell

    model = norse_model([norse.LIFBoxCell(), LIBoxCell()], sizes=(20, 15, 5))
    x = (torch.rand(40, 8, 20, generator=torch.Generator().manual_seed(1)) < 0.3).double()
    network = from_norse(model)
    assert network.readout == MembraneReadout(decay=0.9)
    torch.testing.assert_close(network(x)[0], norse_spikes(model, x)[-1][-1], rtol=1e-6, atol=1e-9)


def test_what_norse_has_and_we_do_not():
    import norse.torch as norse
    from norse.torch.functional.lif_box import LIFBoxParameters

    linear = torch.nn.Linear(4, 4)
    with pytest.raises(InputError, match="module 1 is LSNNCell"):
        from_norse(norse.SequentialState(linear, norse.LSNNCell()))
    with pytest.raises(InputError, match=r"module 0 \(Linear\) is the last layer and has no neurons"):
        from_norse(norse.SequentialState(linear))
    with pytest.raises(InputError, match="v_reset is -1"):
        from_norse(norse.SequentialState(linear, norse.LIFBoxCell(LIFBoxParameters(v_reset=torch.tensor(-1.0)))))
    with pytest.raises(InputError, match="v_th has 4 values"):
        from_norse(norse.SequentialState(linear, norse.LIFBoxCell(LIFBoxParameters(v_th=torch.ones(4)))))
