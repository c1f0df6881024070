"""The deployed network: what it may hold, and a file that comes back whole."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.integer_network import IntegerLayer
from polystep_snn.hardware.network_file import load, save
from tests.hardware.network_files import (
    path,  # noqa: F401 (fixtures)
    same,
    small_network,
)
from tests.hardware.test_simulator import dense


def test_round_trip(path):
    assert same(load(path), small_network())
    before = path.read_bytes()
    save(path, load(path))
    assert path.read_bytes() == before, "the same network, the same bytes"
    assert not same(load(path), replace(small_network(), num_steps=15))


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_memory_layout(tmp_path, order):
    network = small_network()
    weight = np.asarray(network.layers[0].weight, order=order)[:, ::-1]
    network = replace(network, layers=(replace(network.layers[0], weight=weight), network.layers[1]))
    save(tmp_path / "n", network)
    assert np.array_equal(load(tmp_path / "n").layers[0].weight, weight)


def test_numpy_integers_are_integers(tmp_path):
    network = small_network()
    layer = replace(network.layers[0], du=np.int64(7), bias_exp=np.uint8(3))
    save(tmp_path / "n", replace(network, layers=(layer, network.layers[1]), num_steps=np.int32(3)))
    assert (load(tmp_path / "n").layers[0].du, load(tmp_path / "n").num_steps) == (7, 3)


def layer(**changes):
    fields = {"weight": np.ones((2, 3), np.int8), "vth": np.zeros(2, np.int32), "bias_mant": np.zeros(2, np.int16)}
    return IntegerLayer(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.ones((2, 3), np.int16)}, r"weights is int16 \[2, 3\]: give int8"),
        ({"weight": np.ones((2, 3), np.float32)}, "weights is float32"),
        ({"weight": [[1]]}, "weights is list"),
        ({"weight": np.ones((0, 3), np.int8)}, "at least one neuron"),
        ({"vth": np.zeros(3, np.int32)}, "vth has 3 entries for 2 neurons"),
        ({"vth": np.array([0, 2**17], np.int32)}, "a threshold is 131072: it must fit 17 bits"),
        ({"vth": np.array([-1, 0], np.int32)}, "a threshold is -1"),
        ({"vth": np.zeros(2)}, "vth is float64"),
        ({"bias_mant": np.zeros(2, np.int32)}, "bias_mant is int32"),
        ({"bias_exp": 8}, "bias_exp is 8: give a whole number, 0 to 7"),
        ({"bias_exp": 3.0}, r"bias_exp is 3\.0"),
        ({"du": 4096}, "du is 4096: it must fit 12 bits, 0 to 4095"),
        ({"dv": -1}, "dv is -1"),
        ({"dv": True}, "dv is True"),
        ({"scale": 0.0}, r"scale is 0\.0: give a positive number"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 10**400}, r"scale is 1000.*\.\.\..*000"),
        ({"scale": "1"}, "scale is '1'"),
    ],
)
def test_what_no_layer_is(changes, message):
    layer()
    with pytest.raises(InputError, match=message):
        layer(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, "has no layers"),
        ({"layers": (dense([[1] * 6]), dense([[1, 1], [1, 1]]))}, "layer 1 takes 2 inputs, but layer 0 has 1 neurons"),
        ({"readout": "sum"}, "readout is 'sum': choose one of membrane, max, count"),
        ({"encoder": "morse"}, "encoder is 'morse': choose one of rate"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2**16 + 1}, "num_steps is 65537"),
        ({"num_steps": 2.0}, r"num_steps is 2\.0"),
        ({"input_shape": ()}, "input_shape has 0 sizes: give those of one sample, 1 to 8"),
        ({"input_shape": (6, 0)}, "a size of input_shape is 0"),
        ({"input_shape": (28, 28)}, "layer 0 takes 6 inputs, but a sample is 28 x 28: give the shape that rate encodes"),
        ({"input_shape": (4,), "encoder": "population"}, "layer 0 takes 6 inputs"),
        ({"classes": ("a",)}, "1 classes for a readout of 2 neurons"),
        ({"classes": ("a", 3)}, "a class is 3: give printable text"),
        ({"classes": ("a", "\x1b[2J")}, "printable"),
        ({"provenance": {"a": float("nan")}}, "provenance 'a' is nan"),
        ({"provenance": {"a": [1]}}, r"provenance 'a' is \[1\]"),
        ({"provenance": {3: 1}}, "a key of provenance is 3"),
        ({"provenance": {"a": "b\nc"}}, "provenance 'a' is .*printable"),
    ],
)
def test_what_no_network_is(changes, message):
    with pytest.raises(InputError, match=message) as error:
        replace(small_network(), **changes)
    assert "\n" not in str(error.value)
    assert replace(small_network(), input_shape=(2,), encoder="population").sizes == [6, 3, 2]


def test_nothing_is_left_when_a_file_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        save(tmp_path / "nowhere" / "n", small_network())
    with pytest.raises(InputError, match="257 layers"):
        save(tmp_path / "n", replace(small_network(), layers=(dense([[1] * 6] * 2),) + (dense([[1, 1]] * 2),) * 256))
    with pytest.raises(InputError, match="shorten them"):
        save(tmp_path / "n", replace(small_network(), provenance={"notes": "x" * 2**20}))
    assert list(tmp_path.iterdir()) == []
