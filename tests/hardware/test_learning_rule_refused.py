"""Rules and networks that cannot learn on the chip."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from tests.hardware.learning import small_network
from tests.hardware.test_simulator import dense, make_network


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"writable": ()}, "writable is []: choose some of readout, hidden_bias, hidden"),
        ({"writable": ("all",)}, "writable is ['all']"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"batch_size": True}, "batch_size is True"),
        ({"rate": 0.0}, "rate is 0.0: choose a positive number"),
        ({"readout_rate": float("nan")}, "readout_rate is nan"),
        ({"radius": -1.0}, "radius is -1.0"),
        ({"eps": 1e4}, "eps is 10000.0: choose from 0.001 to 100"),
        ({"schedule": "step"}, "schedule is 'step': choose one of constant, cosine"),
    ],
)
def test_impossible_rules(options, message):
    with pytest.raises(InputError) as raised:
        LearningRule(**options)
    assert message in str(raised.value)


def test_networks_and_rules_that_do_not_fit():
    rng = np.random.default_rng(0)
    network = small_network(rng)
    rule = LearningRule(("readout", "hidden"))
    for layers, readout, message in (
        ([dense([[1, 2]])], "membrane", "the network has no hidden layer"),
        ([dense([[1, 2]]), dense([[3]])], "count", "needs a readout of integrators without leak"),
        ([dense([[1, 2]]), dense([[3]], dv=1)], "membrane", "needs a readout of integrators without leak"),
        ([dense([[1, 2]]), dense([[3]], du=4094)], "membrane", "needs a readout of integrators without leak"),
    ):
        with pytest.raises(InputError, match=message):
            Learner(make_network(layers, 3, readout), rule, 1)
    first, last = network.layers
    for layer, message in (
        (replace(first, recurrent=np.ones((9, 9), np.int8)), "layer 0 is recurrent, but networks that learn on the chip are not"),
        (replace(first, delays=np.ones(12, np.uint8)), "layer 0 has delays, but networks that learn on the chip have none"),
    ):
        with pytest.raises(InputError, match=message):
            Learner(replace(network, layers=(layer, last)), rule, 1)
    assert Learner(replace(network, layers=(replace(first, delays=np.zeros(12, np.uint8)), last)), rule, 1).num_copies == 3
    for radius in (1e-6, 1e3):
        with pytest.raises(InputError, match="no bias register holds it"):
            Learner(network, LearningRule(("hidden",), radius=radius), 1)
    Learner(network, LearningRule(("readout",), radius=1e3), 1)
    for rate in (1e-6, 1e6):
        with pytest.raises(InputError, match="does not fit the accumulators"):
            Learner(network, LearningRule(("hidden",), rate=rate), 1)


def test_sums_that_leave_their_bits_are_refused_at_the_start():
    rng = np.random.default_rng(0)
    readout = dense(np.ones((2, 2)), vth=2**17 - 1, scale=0.01)
    wide = dense(np.ones((2, 2**17 + 1)))
    for layers in ([wide, readout], [wide, dense(np.ones((2, 2))), readout]):
        with pytest.raises(InputError, match="layer 0 has 131073 inputs, but layers that learn have at most 131072"):
            Learner(make_network(layers), LearningRule(), 1)
    assert Learner(make_network([dense(np.ones((2, 2**17))), readout]), LearningRule(), 1).num_copies == 1
    hidden = LearningRule(("hidden",), 1)
    message = "in 65536 steps a probe can move a readout to 8454144, whose cost 32 bits do not hold: use fewer steps"
    with pytest.raises(InputError, match=message):
        Learner(small_network(rng, num_steps=2**16), hidden, 1)
    assert Learner(small_network(rng, num_steps=2**12), hidden, 1).num_copies == 3
    assert Learner(small_network(rng, num_steps=2**16), LearningRule(("readout",), 1, readout_rate=2.0), 1).num_copies == 1
