"""Recurrent and delayed layers in lava-dl's files: its loader computes the same spikes, and what it exports is read."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.fixed_point import CubaState, cuba_step
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.test_lava_dl import lava_dl_file, lava_dl_weights
from tests.hardware.formats.written import KINDS, change, make, spikes_for
from tests.hardware.test_memory_file import same_memory

LONGEST = 7


def with_memory(**options):
    """Every other layer recurrent, the others with delays."""
    network, rng = make(**options), np.random.default_rng(4)
    layers = list(network.layers)
    for k, layer in enumerate(layers):
        if k % 2:
            layers[k] = replace(layer, recurrent=rng.integers(-128, 128, (layer.num_neurons,) * 2).astype(np.int8))
        else:
            layers[k] = replace(layer, delays=rng.integers(0, LONGEST + 1, layer.num_inputs).astype(np.uint8))
    return replace(network, layers=tuple(layers))


def loaded_pair(weight, recurrent):
    """What lava-dl makes of the weights of a recurrent layer: both shifted as one matrix, each cut by its own signs, and the exponent."""
    both = np.hstack([weight, recurrent]).astype(int)
    _, shift = lava_dl_weights(both)
    found = []
    for values in (weight, recurrent):
        shifted = values.astype(int) << shift
        # Lava's Dense finds out the sign of each matrix by itself.
        sign = 1 if shifted.min() >= 0 else -1 if shifted.max() <= 0 else 0
        found.append(np.clip(shifted * (sign or 1), 0 if sign else -256, 255) * (sign or 1))
    return *found, shift


def run_as_lava_dl(path, x):
    """Spikes [T, B, N] of every layer, and the last membranes; delays a synapse, recurrent spikes a step later."""
    trains = []
    with h5py.File(path) as file:
        for k in range(len(file["layer"])):
            group, neuron = file[f"layer/{k}"], file[f"layer/{k}/neuron"]
            kind, weight = group["type"][0].decode("ascii"), group["weight"][()].astype(int)
            own = group["weight_rec"][()].astype(int) if kind == "dense_rec" else np.zeros((len(weight), 0), int)
            if kind == "dense_rec":
                weight, own, shift = loaded_pair(weight, own)
            else:
                weight, shift = lava_dl_weights(weight)
            delay = group["delay"][()].astype(int) if "delay" in group else np.zeros_like(weight)
            assert delay.shape == weight.shape
            bias = group["bias"][()].astype(np.int16).astype(np.int32) << 6 if "bias" in group else 0
            du, dv, vth = (int(neuron[name][()]) for name in ("iDecay", "vDecay", "vThMant"))
            state, out = CubaState(*np.zeros((2, x.shape[1], len(weight)), np.int32)), []
            for t in range(len(x)):
                a = np.zeros((x.shape[1], len(weight)), int)
                if out:
                    a += out[-1][:, : own.shape[1]].astype(int) @ own.T
                for d in np.unique(delay):
                    if t >= d:
                        a = a + x[t - d].astype(int) @ np.where(delay == d, weight, 0).T
                z, state = cuba_step((a >> shift).astype(np.int32), state, du - 1, dv, vth, bias)
                out.append(z)
            x = np.array(out)
            trains.append(x)
    return trains, state.v


@pytest.mark.parametrize("kind", KINDS)
def test_lava_dl_computes_the_same_and_it_is_read_back(tmp_path, kind):
    network = with_memory(**KINDS[kind])
    netx.write(tmp_path / "n.net", network)
    assert same_memory(netx.read(tmp_path / "n.net"), network)
    x = spikes_for(network)
    expected = Simulator(network).record(x)
    trains, membranes = run_as_lava_dl(tmp_path / "n.net", x)
    for train, layer in zip(trains, expected.layers, strict=True):
        assert np.array_equal(train, layer.z)
    assert np.array_equal(membranes, expected.layers[-1].v[-1])
    assert expected.layers[0].z.any() or len(network.layers) == 1
    # Without our own file inside: the layers say it all.
    change(tmp_path / "n.net", "polystep_snn", None)
    found = netx.read(tmp_path / "n.net", num_steps=network.num_steps)
    for one, other in zip(found.layers, network.layers, strict=True):
        for name in ("weight", "recurrent", "delays", "vth", "bias"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_recurrent_layer_is_refused_where_lava_dl_would_lose_weights_and_only_there():
    rng = np.random.default_rng(0)
    network, refused = make(sizes=(4, 3)), 0
    ends = [-128, -127, -64, -4, -3, -1, 0, 1, 2, 64, 127]
    for _ in range(3000):
        parts = []
        for width in (4, 3):
            low, high = sorted(rng.choice(ends, 2))
            weight = rng.integers(low, high + 1, (3, width)) * rng.choice([1, 1, 2])
            parts.append(np.clip(weight, -128, 127).astype(np.int8))
        try:
            *found, shift = loaded_pair(*parts)
            lossless = all(np.array_equal(f, w.astype(int) << shift) for f, w in zip(found, parts, strict=True))
        except OverflowError:
            lossless = False
        layer = replace(network.layers[0], weight=parts[0], recurrent=parts[1])
        try:
            netx.describe(replace(network, layers=(layer,)))
            taken = True
        except InputError:
            taken, refused = False, refused + 1
        assert taken == lossless, parts
    assert refused > 50


def test_recurrent_and_delayed_at_once_is_refused(tmp_path):
    network = make(sizes=(6, 4))
    layer = replace(network.layers[0], recurrent=np.ones((4, 4), np.int8), delays=np.arange(6, dtype=np.uint8))
    with pytest.raises(InputError, match="layer 0 is recurrent and has delays, of which lava-dl's loader takes one alone"):
        netx.write(tmp_path / "n.net", replace(network, layers=(layer,)))
    assert not os.listdir(tmp_path)
    netx.write(tmp_path / "n.net", replace(network, layers=(replace(layer, delays=np.zeros(6, np.uint8)),)))


def exported(path, **changes):
    """As lava-dl's ``export_hdf5`` writes layers of 15, 12 and 5 neurons that see 20, 15 and 12; the first layer is its input."""
    lava_dl_file(path, make(vth=700).layers, **changes)


def test_delays_that_lava_dl_trained_delay_what_the_next_layer_receives(tmp_path):
    """Floored float32, one an output; scalars and one an input are the loader's."""
    path, outputs = tmp_path / "n.net", np.arange(15, dtype=np.float32) % 7
    exported(path, **{"layer/1/delay": outputs})
    layers = netx.read(path, num_steps=9).layers
    assert [x.delays is None for x in layers] == [True, False, True]
    assert layers[1].delays.tolist() == outputs.tolist()
    inputs = np.arange(15) % 3
    exported(path, **{"layer/1/delay": outputs, "layer/2/delay": inputs})
    assert netx.read(path, num_steps=9).layers[1].delays.tolist() == (outputs + inputs).tolist()
    exported(path, **{"layer/1/delay": np.float32(4)})
    assert netx.read(path, num_steps=9).layers[0].delays.tolist() == [4] * 20
    exported(path, **{"layer/3/delay": np.zeros(5, np.float32)})
    assert all(x.delays is None for x in netx.read(path, num_steps=9).layers)
    exported(path, **{"layer/1/delay": np.tile(np.arange(20) % 5, (15, 1))})
    assert netx.read(path, num_steps=9).layers[0].delays.tolist() == [k % 5 for k in range(20)]


@pytest.mark.parametrize("flat", [False, True])
def test_a_recurrent_layer_that_lava_dl_trained(tmp_path, flat):
    """Even weights to 254, as it quantizes: an exponent for both matrices."""
    rng = np.random.default_rng(0)
    weight, own = (2 * rng.integers(-128, 128, (12, m)) for m in (15, 12))
    given = [x.ravel() if flat else x for x in (weight, own)]
    changes = {
        "layer/2/type": b"dense_rec",
        "layer/2/weight": given[0].astype(np.float32),
        "layer/2/weight_rec": given[1].astype(np.float32),
    }
    exported(tmp_path / "n.net", **changes)
    layer = netx.read(tmp_path / "n.net", num_steps=9).layers[1]
    assert layer.weight_exp == 1
    assert np.array_equal(layer.weight.astype(int) * 2, weight)
    assert np.array_equal(layer.recurrent.astype(int) * 2, own)


REC = {"layer/2/type": b"dense_rec", "layer/2/weight_rec": np.eye(12)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer/2/type": b"dense_rec"}, "layer 2: it has no 'weight_rec', expected numbers"),
        (REC | {"layer/2/weight_rec": np.ones((12, 5))}, r"weight_rec is \[12, 5\] for 12 neurons: give one weight from each to each"),
        (REC | {"layer/2/weight_rec": np.ones(7)}, "7 weights for 12 neurons"),
        (REC | {"layer/2/weight_rec": np.full((12, 12), 300)}, "weights reach from .* to 300"),
        (REC | {"layer/2/delay": np.ones(12)}, "it has 'delay' beside 'weight_rec', which lava-dl's loader gives to both"),
        ({"layer/2/delay": np.full(15, -1)}, "delay has -1, which is not a whole number"),
        ({"layer/2/delay": np.full(15, 0.5)}, "delay has 0.5"),
        ({"layer/2/delay": np.full(15, 63)}, "layer 2: a delay is 63, but the chip holds a spike back for at most 62 steps"),
        ({"layer/1/delay": np.full(15, 60), "layer/2/delay": np.full(15, 60)}, "a delay is 120"),
        ({"layer/2/delay": np.full(15, 9)}, "layer 1 has a delay of 9 in samples of 9 steps"),
        ({"layer/2/delay": np.eye(12, 15)}, "its delays differ between synapses of an input"),
        ({"layer/2/delay": np.ones((12, 15, 1))}, r"delay is \[12, 15, 1\] for 12 neurons of 15 inputs"),
        ({"layer/2/delay": "long"}, "has an unusable 'delay', expected numbers"),
        ({"layer/3/delay": np.full(5, 3)}, "the outputs of its last layer are delayed by up to 3 steps, and nothing comes after it here"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, changes, message):
    exported(tmp_path / "n.net", **changes)
    with pytest.raises(InputError, match=message) as caught:
        netx.read(tmp_path / "n.net", num_steps=9)
    assert "\n" not in str(caught.value)
