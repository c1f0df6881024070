"""Configurations of runs on events."""

import pytest

from polystep_snn.datasets import Framing
from polystep_snn.datasets.config import EVENT_OPTIONS, IMAGE_AUGMENTATION_OPTIONS
from polystep_snn.errors import InputError
from polystep_snn.profiling import sample_shape
from polystep_snn.training.build import build_augmentation, build_framing
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import RECIPES, recipe
from tests.training.blinks import event_config


def test_the_framing_of_a_run():
    config = TrainConfig("nmnist", encoder="events", num_steps=20, window_us=105_000, bin_by="count", crop=(1, 2, 30, 31), polarity=False)
    assert build_framing(config) == Framing(20, 105_000, "count", crop=(1, 2, 30, 31), polarity=False)
    assert build_framing(TrainConfig("nmnist", encoder="events", num_steps=30)) == Framing()
    assert build_framing(TrainConfig("mnist")) is None
    assert not build_augmentation(TrainConfig("mnist")).changes
    assert sample_shape(config) == (1, 31, 30)


def test_a_data_sets_recipe_counts_more_than_a_neurons():
    assert recipe("mnist", "loihi") == {"weight_bits": 8, "encoder": "rate", "num_steps": 16}
    chip = recipe("nmnist", "loihi")
    assert chip == {"weight_bits": 8, **RECIPES["nmnist"]}
    config = TrainConfig("nmnist", neuron="loihi", **chip)
    assert (config.data.encoder, config.data.num_steps, config.network.hidden) == ("events", 30, (128,))


def test_a_space_counts_more_than_a_data_set():
    """Radius, temperature and learning rate of node space are in other units."""
    for dataset in RECIPES:
        config = TrainConfig(dataset, space="weight", **recipe(dataset, space="weight"))
        assert (config.method.radius, config.method.polytope, config.method.eps, config.optimizer.lr, config.optimizer.weight_decay) == (
            0.5,
            "simplex",
            1.0,
            2e-2,
            0.0,
        )
    config = TrainConfig("nmnist", space="weight", **recipe("nmnist", space="weight"))
    assert (config.data.encoder, config.data.num_steps, config.method.windows, config.network.v_th, config.data.shift) == (
        "events",
        30,
        1,
        1.0,
        2,
    )
    assert recipe("nmnist", space="node") == RECIPES["nmnist"]


@pytest.mark.parametrize("name", [name for name in EVENT_OPTIONS if name not in IMAGE_AUGMENTATION_OPTIONS])
def test_event_options_have_no_meaning_for_images(name):
    value = {"bin_by": "count", "crop": (0, 0, 4, 4), "stabilize": True, "counts": True, "polarity": False, "window_us": 100}.get(name, 1)
    with pytest.raises(InputError, match=rf"{name} is .*, but the encoder 'rate' is for images, .* choose the encoder 'events'"):
        TrainConfig("mnist", encoder="rate", **{name: value})
    TrainConfig("nmnist", encoder="events", **{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": True, "neuron": "loihi", "weight_bits": 8}, "counts is True, but the neuron 'loihi' takes spikes, 0 or 1"),
        ({"crop": (1.5, 2)}, "give whole numbers"),
        ({"bin_by": "speed"}, "choose one of time, count"),
        ({"stabilize": 1}, "give a value of type bool"),
    ],
)
def test_event_options_that_describe_no_run(change, message):
    with pytest.raises(InputError, match=message):
        event_config(**change)
