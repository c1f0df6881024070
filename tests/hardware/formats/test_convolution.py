"""Convolutions in files of NIR and lava-dl: read back whole, computed by others to the same spikes, or refused by name."""

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import FORMATS, change
from tests.hardware.formats.written_convolutions import FIRST, KINDS, assert_whole, portable
from tests.hardware.test_simulator import dense, make_network


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, suffix, kind):
    network, spikes = portable(**KINDS[kind])
    path = tmp_path / f"network.{suffix}"
    FORMATS[suffix].write(path, network)
    found = FORMATS[suffix].read(path)
    assert_whole(found, network)
    assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))


@pytest.mark.parametrize(
    ("suffix", "place", "value"),
    [
        ("nir", "node/nodes/convolution_0/weight", np.zeros((4, 2, 3, 3), np.float32)),
        ("nir", "node/nodes/convolution_0/stride", np.array([1, 1])),
        ("nir", "node/nodes/convolution_1/padding", np.array([1, 0])),
        ("nir", "node/nodes/convolution_1/groups", 2),
        ("nir", "node/nodes/flatten_2/input_type", np.array([3, 6, 4])),
        ("nir", "node/nodes/flatten_2", None),
        ("net", "layer/1/weight", np.zeros((4, 2, 3, 3), np.float32)),
        ("net", "layer/2/stride", np.array([1, 2])),
        ("net", "layer/0/shape", np.array([2, 8, 9])),
        ("net", "layer/3/type", "dense"),
        ("net", "layer/3", None),
    ],
)
def test_a_changed_file_is_not_read_as_the_old_network(tmp_path, suffix, place, value):
    path = tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, portable()[0])
    change(path, place, value)
    with pytest.raises(InputError, match=str(path)) as caught:
        FORMATS[suffix].read(path)
    assert "\n" not in str(caught.value)


def behind_a_dense_layer():
    last = portable((FIRST,))[0].layers[0]
    return make_network([dense(np.ones((144, 5)), vth=9), last])


def numbered_anew():
    """12 channels of 9 rows in front of 4 channels of 27."""
    first, second = portable((FIRST,))[0].layers[0], portable((Convolution((3, 9, 4), 2, (3, 3)),))[0].layers[0]
    return make_network([first, second])


SQUARE = "the kernel is 3 x 2, and nir checks square ones alone"


@pytest.mark.parametrize(
    ("suffix", "network", "message"),
    [
        ("nir", lambda: portable((FIRST._replace(kernel=(3, 2)),))[0], f"layer 0: {SQUARE}"),
        ("nir", lambda: portable(bias="neuron")[0], "layer 0: biases differ within a channel, but NIR's convolutions have one a channel"),
        ("nir", behind_a_dense_layer, r"layer 1 sees \[2, 9, 8\], but what comes before it has shape \[144\]: NIR cannot reshape"),
        ("nir", numbered_anew, r"layer 1 sees \[3, 9, 4\], but what comes before it has shape \[4, 9, 3\]"),
        ("net", lambda: portable(spread=5)[0], "layer 0: thresholds differ, 150 to 155"),
        ("net", behind_a_dense_layer, r"layer 1 sees \[2, 9, 8\], but what comes before it has shape \[144\]: lava-dl cannot reshape"),
        ("net", numbered_anew, r"layer 1 sees \[3, 9, 4\]"),
        (
            "net",
            lambda: portable((Convolution((1, 2, 260), 2, (1, 2), (1, 128)),))[0],
            r"layer 0: stride is \[1, 128\], but Lava holds at most",
        ),
        ("net", lambda: portable((Convolution((1, 2, 260), 2, (1, 128)),))[0], r"layer 0: kernel is \[1, 128\]"),
    ],
)
def test_what_cannot_be_said_is_refused(tmp_path, suffix, network, message):
    with pytest.raises(InputError, match=message) as caught:
        FORMATS[suffix].write(tmp_path / "n", network())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
