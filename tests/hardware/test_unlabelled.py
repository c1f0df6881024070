"""Adapting without labels: where it helps, where it does not act, and back again, on a reader of the embedded digits."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.datasets.shifts import Shift
from polystep_snn.errors import InputError
from polystep_snn.hardware.adaptation import Pool
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.current_statistics import margins
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.transport import mapped_inputs, mapped_layer, mapped_readout
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream, SpikeStream, adapt, check_stream
from tests.hardware.adapting import EAGER, read_digits, reader, shifting_spikes
from tests.hardware.learning import small_network
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_convolution import random_convolutional
from tests.reference.naive_transport import naive_moments

RULE = TransportRule(window=100)


@pytest.fixture(scope="module")
def network():
    return reader()


def stream_of(shift, first=0, samples=600):
    train, _ = read_digits()
    images = train.images[first : first + samples]
    return images if shift is None else Shift.parse(shift)(images, 1, sensor=1)


def accuracy(network, shift):
    _, test = read_digits()
    pool = Pool(network, test._replace(images=Shift.parse(shift)(test.images, 3, sensor=1)))
    return (Simulator(network).run(pool.spikes(np.arange(len(test.labels)))).argmax(1) == test.labels).mean()


@pytest.mark.parametrize(("shift", "gain"), [("inversion:0.4", 0.2), ("contrast:0.3", 0.02), ("blur:1", 0.03)])
def test_it_brings_back_what_a_moved_current_lost(network, shift, gain):
    adaptation = Adaptation(network, RULE)
    adapt(adaptation, ImageStream(stream_of(shift)))
    assert adaptation.acted
    assert adaptation.events[0].what == "try"
    assert accuracy(adaptation.own, shift) > accuracy(network, shift) + gain
    for before, after in zip(network.layers, adaptation.own.layers, strict=True):
        assert np.array_equal(before.weight, after.weight), "no weight is written"


@pytest.mark.parametrize("shift", ["rotation:30", "translation:1"])
def test_it_does_not_act_where_maps_do_not_help_and_says_so(network, shift):
    adaptation = Adaptation(network, RULE)
    adapt(adaptation, ImageStream(stream_of(shift)))
    assert not adaptation.acted
    assert adaptation.own is network
    assert [event.what for event in adaptation.events if event.what != "keep"] == ["try", "refuse"]
    assert adaptation.reason.startswith("the maps bring back ")
    assert adaptation.reason.endswith("% of the margin that was lost, less than 40%")


def test_nothing_happens_on_what_it_was_trained_on(network):
    adaptation = Adaptation(network, RULE)
    adapt(adaptation, ImageStream(stream_of(None)))
    assert {event.what for event in adaptation.events} == {"keep"}
    assert adaptation.own is network


def test_a_sensor_that_recovers_has_the_deployed_registers_again(network):
    adaptation = Adaptation(network, RULE)
    adapt(adaptation, ImageStream(np.concatenate([stream_of("inversion:0.4"), stream_of(None, 600)])))
    whats = [event.what for event in adaptation.events if event.what != "keep"]
    assert "adapt" in whats
    assert whats[-1] == "restore"
    assert adaptation.own is network
    assert not adaptation.acted


def test_another_failure_is_adapted_to_from_the_deployed_registers(network):
    one = Adaptation(network, RULE)
    adapt(one, ImageStream(np.concatenate([stream_of("inversion:0.4", samples=300), stream_of("contrast:0.3", 300)])))
    assert one.acted
    assert len(one.history) >= 3
    assert accuracy(one.own, "contrast:0.3") > accuracy(network, "contrast:0.3")


def test_the_first_maps_are_those_of_the_windows_before(network):
    """Gone through by hand: input neurons from the first window, the hidden layer from the second, judged by the third."""
    images = stream_of("inversion:0.4", samples=300)
    adaptation, stream = Adaptation(network, RULE), ImageStream(images)
    adapt(adaptation, stream)
    kept = network.statistics.received

    def moments(values):
        mean, std = naive_moments(values.tolist())
        return kept[0]._replace(mean=np.array(mean, np.int32), std=np.array(std, np.int32), samples=len(values))

    first = replace(network, input_neurons=mapped_inputs(kept[0], moments(stream.received(slice(0, 100)))))
    (sums, _), _ = Simulator(first).observe(stream.spikes(slice(100, 200), first))
    layer = mapped_layer(network.layers[0], kept[1], moments(sums), network.num_steps)
    second = replace(first, layers=(layer, *network.layers[1:]))
    (_, sums), values = Simulator(second).observe(stream.spikes(slice(200, 300), second))
    tried = margins(values).mean() * 64 / network.statistics.margin
    readout = mapped_readout(network.layers[1], kept[2], moments(sums), network.num_steps)
    event = adaptation.events[-1]
    assert (event.what, event.sample) == ("adapt", 300)
    assert event.tried == pytest.approx(tried)
    assert np.array_equal(adaptation.own.layers[0].vth, layer.vth)
    assert np.array_equal(adaptation.own.layers[0].bias_mant, layer.bias_mant)
    assert np.array_equal(adaptation.own.layers[1].bias, readout.bias)
    assert not np.array_equal(readout.bias, network.layers[1].bias)
    assert np.array_equal(adaptation.own.input_neurons.vth, first.input_neurons.vth)
    assert len(np.concatenate(adaptation.decisions)) == 300


@pytest.mark.parametrize("kind", [*MEMORIES, "convolution", "deep"])
def test_networks_of_every_kind_have_their_layers_mapped_in_turn(kind):
    """A window of watching, one for each population behind the first, one of trial; weights stay."""
    if kind == "convolution":
        network, _ = random_convolutional(1)
    elif kind == "deep":
        network = small_network(np.random.default_rng(0), (12, 9, 8, 7, 4))
    else:
        network, _ = random_with_memory(kind, 5, num_samples=1)
    network, stream = shifting_spikes(network, 400, first=0.8)
    adaptation = Adaptation(network, replace(EAGER, moved=8.0))
    adapt(adaptation, stream)
    tried = [event for event in adaptation.events if event.what != "keep"]
    assert tried[0].what == "try"
    assert tried[1].what in ("adapt", "refuse")
    assert tried[1].sample == tried[0].sample + 20 * len(network.layers[:-1])
    for own in (own for _, own in adaptation.history[1:] if own is not network):
        moved = [k for k, layer in enumerate(own.layers) if layer is not network.layers[k]]
        assert moved[: len(network.layers) - 1] == list(range(len(network.layers) - 1))
        assert all(np.array_equal(a.weight, b.weight) for a, b in zip(own.layers, network.layers, strict=True))


@pytest.mark.parametrize(
    "options", [{"window": 19}, {"window": 1.5}, {"lost": 1.1}, {"share": -0.1}, {"errors": float("nan")}, {"moved": 0.5}]
)
def test_rules_that_are_none(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is "):
        TransportRule(**options)


def test_a_stream_shorter_than_a_window_is_refused(network):
    with pytest.raises(InputError, match="has 60 samples, statistics need a window of 100"):
        check_stream(ImageStream(stream_of(None, samples=60)), network, 100)


def test_networks_that_cannot_be_adapted(network):
    with pytest.raises(InputError, match="polystep-snn export RUN --format network"):
        Adaptation(replace(network, statistics=None), RULE)
    adaptation = Adaptation(network, RULE)
    adapt(adaptation, ImageStream(stream_of("inversion:0.4")))
    with pytest.raises(InputError, match="adapted before"):
        Adaptation(adaptation.own, RULE)
    with open_backend("simulator", adaptation.own) as backend, pytest.raises(InputError, match="another network adapts"):
        backend.adapt(Adaptation(network, RULE), ImageStream(stream_of(None)))
    with pytest.raises(InputError, match="give a stream of images"):
        adapt(Adaptation(network, RULE), SpikeStream(lambda numbers: np.zeros((8, len(numbers), 64), np.uint8), 200))
    with pytest.raises(InputError, match="takes samples of 64 values, these have 9"):
        adapt(Adaptation(network, RULE), ImageStream(np.zeros((200, 3, 3), np.float32)))


def test_a_gain_that_no_register_holds_is_a_reason_not_to_act(network):
    loud = replace(network, layers=(replace(network.layers[0], vth=network.layers[0].vth * 0 + 2**17 - 1), network.layers[1]))
    adaptation = Adaptation(loud, replace(RULE, lost=0.0, moved=1.0))
    adapt(adaptation, ImageStream(stream_of("blur:1")))
    refused = [event.reason for event in adaptation.events if event.what == "refuse"]
    assert not adaptation.acted
    assert refused
    assert "17 bits" in refused[0]
