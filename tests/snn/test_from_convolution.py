"""Convolutions and pools of Norse become networks with its spikes."""

import norse.torch as norse
import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxParameters
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.snn.from_norse import from_norse
from polystep_snn.snn.readouts import MembraneReadout
from tests.snn.maps import SHAPE, assert_same_spikes, frames


def box(cell="LIFBoxCell", v_leak=0.0):
    leak = torch.tensor(v_leak).double()
    constants = {"tau_mem_inv": torch.tensor(200.0).double(), "v_leak": leak, "v_reset": leak, "method": "heaviside"}
    return norse.LIFBoxCell(LIFBoxParameters(**constants)) if cell == "LIFBoxCell" else norse.LIFCell(norse.LIFParameters(**constants))


def sequential(*modules, gain=15):
    """In float64, with weights that make neurons fire."""
    torch.manual_seed(0)
    model = norse.SequentialState(*modules).double()
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()
                module.weight.mul_(gain)
    return model


@torch.no_grad()
def layers_in_norse(model, x):
    """What every neuron layer puts out, step by step, by Norse's own forward pass."""
    hooked, trains = [], []
    for module, is_stateful in zip(model, model.stateful_layers, strict=True):
        if is_stateful:
            trains.append([])
            hooked.append(module.register_forward_hook(lambda _, __, output, train=trains[-1]: train.append(output[0])))
    state = None
    for frame in x:
        _, state = model(frame, state)
    for hook in hooked:
        hook.remove()
    return [torch.stack(train) for train in trains]


POOLS = {
    "none": (nn.Identity, None, 1),
    "mean": (lambda: nn.AvgPool2d(2), SumPool(2), 1 / 4),
    "mean of 16": (lambda: nn.AvgPool2d((4, 4), 4), SumPool(4), 1 / 16),
    "another mean": (lambda: nn.AvgPool2d(2, divisor_override=3), SumPool(2), 1 / 3),
    "sum": (lambda: nn.LPPool2d(1, 2), SumPool(2), 1),
    "sum by a divisor": (lambda: nn.AvgPool2d(2, divisor_override=1), SumPool(2), 1),
}


@pytest.mark.parametrize("cell", ["LIFBoxCell", "LIFCell"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_norse_network_keeps_its_spikes(pool, cell):
    """Maps of 8 x 8, pooled, then of about the same size: every step and neuron."""
    make_pool, item, factor = POOLS[pool]
    size = 8 // (item.size if item else 1)
    modules = [nn.Conv2d(2, 4, 3, padding=1), box(cell, 0.25), make_pool(), nn.Conv2d(4, 5, 2, 1, 1, bias=False), box(cell), nn.Flatten()]
    modules += [nn.Linear(5 * (size + 1) ** 2, 20), box(cell, 0.25), nn.Linear(20, 6, bias=False), box(cell)]
    model = sequential(*(m for m in modules if not isinstance(m, nn.Identity)), gain=15 if factor == 1 else 40)
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, Conv(4, 3, 1, 1), *([item] if item else []), Conv(5, 2, 1, 1), 20, 6]
    second = [m for m in model if isinstance(m, nn.Conv2d)][1]
    assert torch.allclose(network.weights[1], second.weight * 0.2 * factor, rtol=1e-15, atol=0)
    x = frames()
    assert_same_spikes(network, x, layers_in_norse(model, x))


def test_pools_stand_before_any_weights_and_flatten_anywhere_behind_maps():
    """A pooled input; neurons behind a Flatten; a dense layer on pooled maps. The last one integrates."""
    modules = [nn.AvgPool2d(2), nn.Conv2d(2, 6, 3, 2, 1), nn.Flatten(), box(), nn.Linear(24, 4), norse.LIBoxCell()]
    model = sequential(*modules, gain=40)
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, SumPool(2), Conv(6, 3, 2, 1), 4]
    assert network.readout == MembraneReadout(decay=0.9)
    x = frames()
    assert_same_spikes(network, x, layers_in_norse(model, x))

    model = sequential(nn.Conv2d(2, 4, 1), box(), nn.LPPool2d(1, 2), nn.Flatten(1, 3), nn.Linear(64, 4), box())
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, Conv(4, 1), SumPool(2), 4]
    assert_same_spikes(network, x, layers_in_norse(model, x))


def test_a_norse_network_of_dense_layers_may_flatten_its_input():
    model = sequential(nn.Flatten(), nn.Linear(128, 20), box(), nn.Linear(20, 5), box())
    x = frames()
    for shape, first in ((None, 128), (SHAPE, SHAPE)):
        network = from_norse(model, shape)
        assert network.architecture == [first, 20, 5]
        assert_same_spikes(network, x, layers_in_norse(model, x))


def test_the_dtype_is_that_of_the_norse_model():
    model = sequential(nn.Conv2d(2, 4, 3), box(), nn.Flatten(), nn.Linear(144, 3), box()).float()
    network = from_norse(model, SHAPE)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    x = frames().float()
    assert_same_spikes(network, x, layers_in_norse(model, x))


CONV, TAIL = nn.Conv2d(2, 4, 3), [nn.Flatten(), nn.Linear(144, 3), box()]


@pytest.mark.parametrize(
    ("modules", "shape", "message"),
    [
        ([CONV, box(), *TAIL], None, r"module 0 is Conv2d, so the input's shape is needed: give input_shape=\(channels, height, width\)"),
        ([nn.AvgPool2d(2), CONV, box(), *TAIL], None, "module 0 is AvgPool2d, so the input's shape is needed"),
        ([CONV, box(), *TAIL], 128, "the input's shape is 128: give channels, height and width"),
        ([CONV, box(), *TAIL], (2, 8), r"the input's shape is \(2, 8\)"),
        ([CONV, box(), *TAIL], (2, 8, 0), r"the input's shape is \(2, 8, 0\)"),
        ([CONV, box(), *TAIL], (3, 8, 8), r"module 0 \(Conv2d\) takes 2 channels, but the input sends 3"),
        ([CONV, box(), *TAIL], (2, 9, 8), r"module 3 \(Linear\) takes 144 inputs, but module 1 \(LIFBoxCell\) sends 168"),
        ([CONV, box(), *TAIL], (2, 2, 2), r"module 0 \(Conv2d\): a kernel of 3 x 3 does not fit into 2 x 2"),
        ([nn.Conv2d(2, 4, (3, 2)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): kernel_size is \[3, 2\]: give one whole number"),
        ([nn.Conv2d(2, 4, 3, stride=(1, 2)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): stride is \[1, 2\]"),
        ([nn.Conv2d(2, 4, 3, padding=(1, 0)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): padding is \[1, 0\]"),
        ([nn.Conv2d(2, 4, 3, padding="same"), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): padding is 'same': give one whole number"),
        ([nn.Conv2d(2, 4, 3, padding=3), box(), *TAIL], SHAPE, r"padding is \[3, 3\] for a kernel of \[3, 3\]: choose less padding"),
        ([nn.Conv2d(2, 4, 3, dilation=2), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): dilation is 2, but only 1 is read"),
        ([nn.Conv2d(2, 4, 3, groups=2), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): groups is 2, but only 1 is read"),
        ([nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), box(), *TAIL], SHAPE, "padding_mode is 'reflect'"),
        ([nn.ConvTranspose2d(2, 4, 3), box(), *TAIL], SHAPE, "module 0 is ConvTranspose2d, expected nn.Linear, nn.Conv2d"),
        ([norse.Lift(CONV), box(), *TAIL], SHAPE, "module 0 is Lift, expected nn.Linear, nn.Conv2d"),
        ([CONV, box(), nn.MaxPool2d(2), *TAIL], SHAPE, "module 2 is MaxPool2d, expected nn.Linear, nn.Conv2d, nn.AvgPool2d"),
        ([CONV, box(), nn.LPPool2d(2, 2), *TAIL], SHAPE, r"module 2 \(LPPool2d\): norm_type is 2, but only 1 is a sum"),
        ([CONV, box(), nn.AvgPool2d(3, 2), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): size 3, stride 2 and padding 0, but squares tile"),
        ([CONV, box(), nn.AvgPool2d(2, padding=1), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): size 2, stride 2 and padding 1"),
        ([CONV, box(), nn.AvgPool2d((2, 3)), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): kernel_size is \[2, 3\]"),
        ([CONV, box(), nn.AvgPool2d(4), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): squares of 4 do not tile 6 x 6"),
        ([CONV, box(), nn.AvgPool2d(2), nn.AvgPool2d(3), *TAIL], SHAPE, r"module 3 \(AvgPool2d\): .* follows another one: choose one pool"),
        ([CONV, nn.AvgPool2d(2), box(), *TAIL], SHAPE, "module 1 is AvgPool2d: choose one of LIFBoxCell, LIFCell"),
        ([CONV, box(), nn.Linear(6, 3), box()], SHAPE, r"module 2 \(Linear\) would take rows of 4 x 6 x 6 by themselves: put a Flatten"),
        ([nn.Linear(128, 3), box()], SHAPE, r"module 0 \(Linear\) would take rows of 2 x 8 x 8 by themselves"),
        ([nn.Flatten(), CONV, box(), *TAIL], SHAPE, r"module 1 \(Conv2d\) needs channels, rows and columns, but what arrives is flat"),
        ([nn.Linear(8, 3), box(), CONV, box()], None, r"module 2 \(Conv2d\) needs channels, rows and columns"),
        ([nn.Linear(8, 3), box(), nn.AvgPool2d(2), nn.Linear(3, 3), box()], None, r"module 2 \(AvgPool2d\) needs channels"),
        ([CONV, box(), nn.Flatten(2), nn.Linear(36, 3), box()], SHAPE, r"module 2 \(Flatten\) joins dimensions 2 to -1"),
        ([CONV, box()], SHAPE, r"module 1 \(LIFBoxCell\) ends the network behind a convolution, but a readout is dense here"),
        ([CONV, box(), nn.Flatten()], SHAPE, r"module 1 \(LIFBoxCell\) ends the network behind a convolution"),
        ([CONV, box(), nn.Flatten(), nn.Linear(144, 3)], SHAPE, r"module 3 \(Linear\) is the last layer and has no neurons"),
        (
            [nn.Linear(8, 3), box(), nn.Linear(4, 3), box()],
            None,
            r"module 2 \(Linear\) takes 4 inputs, but module 1 \(LIFBoxCell\) sends 3",
        ),
        ([], None, "the model has 0 modules"),
    ],
)
def test_what_norse_has_and_we_do_not(modules, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        from_norse(norse.SequentialState(*modules), shape)
    assert "\n" not in str(caught.value)
