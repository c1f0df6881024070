"""Frames that are zero almost everywhere: the same numbers as dense ones, in every product and in a whole step of training."""

from itertools import pairwise

import pytest
import torch

from polystep_snn import CubaParameters, LIFParameters, NodeSpace, PolyStep, SpikeCountReadout, SpikingNetwork
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv
from polystep_snn.polystep.cost import CrossEntropy, rate_scale
from polystep_snn.polystep.transport import Softmax
from polystep_snn.snn.frames import Constant, EventBlock, EventFrames, Frames, num_blocks, time_blocks
from tests.reference import naive_nodes

NUM_STEPS, BATCH, WIDTH = 20, 5, 18


def dense_frames(counts=False, density=0.1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    on = torch.rand(NUM_STEPS, BATCH, WIDTH, generator=generator) < density
    on[4], on[:, 2] = False, False  # a step, and a sample, without an event
    return (on * (torch.randint(1, 4, on.shape, generator=generator) if counts else 1)).to(dtype)


def events_of(dense, index=torch.int64):
    places = dense.flatten().nonzero()[:, 0]
    values = dense.flatten()[places]
    ones = bool((values == 1).all())
    return EventFrames(places.to(index), tuple(dense.shape), None if ones else values, dense.dtype)


KINDS = pytest.mark.parametrize(("counts", "index"), [(False, torch.int32), (False, torch.int64), (True, torch.int32)])


@KINDS
def test_frames_come_back(counts, index):
    dense = dense_frames(counts)
    frames = events_of(dense, index)
    assert (frames.values is None) == (not counts)
    assert len(frames) == NUM_STEPS
    for _ in range(2):
        assert torch.equal(torch.stack(list(frames)), dense)


@KINDS
@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 4), slice(2, 3), slice(0, BATCH)])
def test_some_samples_of_a_batch(counts, index, rows):
    dense = dense_frames(counts)
    part = events_of(dense, index).samples(rows)
    assert part.places.dtype == index
    assert torch.equal(torch.stack(list(part)), dense[:, rows])
    assert torch.equal(torch.stack(list(Frames(iter(dense), NUM_STEPS).samples(rows))), dense[:, rows])
    assert torch.equal(torch.stack(list(Constant(dense[0], 2).samples(rows))), dense[:1, rows].expand(2, -1, -1))


@KINDS
def test_blocks_times_weights(counts, index):
    dense, weights = dense_frames(counts), torch.randn(WIDTH, 7, dtype=torch.float64)
    blocks = list(time_blocks(events_of(dense, index), sparse=True))
    assert [start for start, _, _ in blocks] == [0, 10]
    for start, num_steps, block in blocks:
        part = dense[start : start + num_steps]
        assert isinstance(block, EventBlock)
        assert (block.shape, block.dtype) == (tuple(part.shape), part.dtype)
        torch.testing.assert_close(block.times(weights), part @ weights, rtol=0, atol=1e-12)
        other = torch.randn(num_steps * BATCH, 4, dtype=torch.float64)
        torch.testing.assert_close(block.matrix().transposed_times(other), part.flatten(0, 1).T @ other, rtol=0, atol=1e-12)
    for (_, _, a), (_, _, b) in zip(time_blocks(events_of(dense, index)), time_blocks(dense), strict=True):
        assert torch.equal(a, b)


def one_hot(num_windows):
    return torch.nn.functional.one_hot(torch.arange(NUM_STEPS) * num_windows // NUM_STEPS, num_windows).double()


OVERLAPPING = torch.tensor([[1.0, 0.0, 0.25]] * 8 + [[0.0, 0.0, 0.0]] * 4 + [[0.5, 2.0, 1.0]] * 8, dtype=torch.float64)


@KINDS
@pytest.mark.parametrize("shares", [one_hot(1), one_hot(4), one_hot(NUM_STEPS), OVERLAPPING])
def test_what_arrives_in_windows(counts, index, shares):
    dense, other = dense_frames(counts), torch.randn(shares.shape[1] * BATCH, 6, dtype=torch.float64)
    arrived = torch.einsum("tm,tbn->mbn", shares, dense).flatten(0, 1)
    found = events_of(dense, index).windowed(shares)
    torch.testing.assert_close(found.transposed_times(other), arrived.T @ other, rtol=0, atol=1e-12)


def test_a_batch_without_events():
    frames = events_of(torch.zeros(3, 2, 4))
    assert not torch.stack(list(frames)).any()
    ((_, _, block),) = time_blocks(frames, sparse=True)
    assert not block.times(torch.ones(4, 5)).any()
    assert not frames.windowed(torch.ones(3, 1)).transposed_times(torch.ones(2, 3)).any()


# Networks

SOFT, HARD = LIFParameters.from_beta(0.9, reset="subtract"), LIFParameters.from_beta(0.8)


def networks():
    def network(architecture, neuron=HARD, bits=32, count=False):
        readout = {"readout": SpikeCountReadout(neuron)} if count else {}
        made = SpikingNetwork(architecture, neuron, generator=torch.Generator().manual_seed(1), weight_bits=bits, **readout).double()
        for weight, bias in zip(made.weights, made.biases, strict=True):
            weight.mul_(6.0)
            bias.uniform_(-0.05, 0.15, generator=torch.Generator().manual_seed(2))
        return made

    yield "one hidden layer", network([WIDTH, 12, 4])
    yield "subtractive, two layers, counts", network([WIDTH, 9, 7, 4], SOFT, count=True)
    yield "int8 weights", network([WIDTH, 12, 4], bits=8)
    yield "no hidden layer", network([WIDTH, 4], count=True)
    yield "the chip", network([WIDTH, 12, 4], CubaParameters.from_beta(0.9), 8)
    yield "a convolution", network([(2, 3, 3), Conv(3, 2), 4])


NETWORKS = dict(networks())
TARGET = torch.tensor([0, 3, 1, 2, 1])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("space", [NodeSpace(1.5), NodeSpace([0.7, 2.0], num_windows=5, num_probed=3)])
def test_a_step_on_events_is_that_on_dense_frames(name, space):
    network, dense = NETWORKS[name], dense_frames(density=0.3)
    found = []
    for inputs in (dense, events_of(dense)):
        result = PolyStep(network, space, Softmax(0.3), compile=False, seed=5).step(inputs, TARGET)
        found.append([result.loss, result.accuracy, *result.rates, *(p.grad for p in network.parameters())])
    assert found[0][2].sum() > 0, "some neuron fires"
    assert all(gradient.abs().sum() > 0 for gradient in found[0][-len(list(network.parameters())) :])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-12)


def test_the_gradient_of_events_is_that_of_naive_passes():
    network, dense = NETWORKS["one hidden layer"], dense_frames(density=0.3)
    method = PolyStep(network, NodeSpace(1.5, num_windows=2), Softmax(0.3), compile=False)
    method.step(events_of(dense), TARGET)
    probes = method._probes(NUM_STEPS, 0.0, network.layers())
    expected = naive_nodes.gradients(network, dense, TARGET, probes, CrossEntropy(rate_scale(NUM_STEPS)), method.transport, 0.3)
    flat = [gradient for layer in expected for gradient in layer]
    for parameter, gradient in zip(network.parameters(), flat, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("int8 weights", "the chip")])
def test_backpropagation_through_events(name):
    network, dense = NETWORKS[name], dense_frames(density=0.3)
    found = []
    for inputs in (dense, events_of(dense)):
        SurrogateBPTT(network, "superspike", compile=False).step(inputs, TARGET)
        found.append([p.grad.clone() for p in network.parameters()])
    network.requires_grad_(False)
    assert all(gradient.abs().sum() > 0 for gradient in found[0])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_forward_pass_on_events(name):
    dense = dense_frames(density=0.3)
    expected, _ = NETWORKS[name](dense)
    found, _ = NETWORKS[name](events_of(dense))
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_events_that_do_not_fit():
    network = NETWORKS["one hidden layer"]
    narrow = events_of(dense_frames()[..., 1:])
    with pytest.raises(InputError, match=r"inputs are torch\.float64 \[5, 17\] a step: give torch\.float64 \[5, 18\]"):
        PolyStep(network, compile=False).step(narrow, TARGET)
    with pytest.raises(InputError, match="this network takes 18 values a sample"):
        network(narrow)
    with pytest.raises(InputError, match=r"the input is torch\.float32, but the weights are torch\.float64"):
        network(events_of(dense_frames(dtype=torch.float32)))
    late = dense_frames()
    late[7, 1, 3] = 2
    with pytest.raises(InputError, match="but the chip's neurons take spikes"):
        NETWORKS["the chip"](events_of(late))
    with pytest.raises(InputError, match=r"shape \[0, 5, 18\]: give at least one step"):
        EventFrames(torch.empty(0, dtype=torch.int64), (0, BATCH, WIDTH))
    with pytest.raises(InputError, match=r"inputs are torch\.float64 \[5, 17\] a step: give torch\.float64 \[5, 18\]"):
        SurrogateBPTT(network, compile=False).step(narrow, TARGET)
    network.requires_grad_(False)


def test_a_weight_that_no_event_meets_is_checked_too():
    network = SpikingNetwork([WIDTH, 6, 4], HARD).double()
    dense = dense_frames()
    dense[..., 5] = 0
    network.weights[0][2, 5] = float("nan")
    with pytest.raises(InputError, match=r"linears\.0\.weight contains NaN or infinity"):
        PolyStep(network, compile=False).step(events_of(dense), TARGET)


@pytest.mark.parametrize(
    ("places", "values", "message"),
    [
        ([3, 1], None, "do not increase from 0 to 11: sort them"),
        ([1, 1], None, "do not increase from 0 to 11"),
        ([-1, 1], None, "do not increase from 0 to 11"),
        ([1, 12], None, "do not increase from 0 to 11"),
        ([1.0, 2.0], None, r"are torch\.float32 \[2\]: give int32 or int64, one an event"),
        ([1, 2], [1.0], r"2 events have \[1\] values"),
        ([1, 2], [1.0, float("nan")], "or one that is NaN or infinite: give a number each"),
    ],
)
def test_places_that_are_none(places, values, message):
    with pytest.raises(InputError, match=message):
        EventFrames(torch.tensor(places), (2, 3, 2), None if values is None else torch.tensor(values))


# Blocks


@pytest.mark.parametrize(("total", "blocks"), [(1, 1), (16, 1), (17, 2), (30, 2), (64, 4), (100, 7), (300, 20), (400, 25)])
def test_blocks_are_alike_where_they_can_be(total, blocks):
    assert num_blocks(total) == blocks
    found = list(time_blocks(Frames((torch.full((1, 2), t) for t in range(total)), total)))
    sizes = [num for _, num, _ in found]
    assert sum(sizes) == total
    assert max(sizes) <= 16
    assert max(sizes) - min(sizes) <= (total % blocks > 0)
    assert all(start + num == after for (start, num, _), (after, _, _) in pairwise(found))
    assert torch.equal(torch.cat([frames for _, _, frames in found])[:, 0, 0], torch.arange(total))


def test_nothing_of_the_time_axis_is_held():
    """While block k is out, no frame of block k + 1 has been made."""
    made = []

    def frame(t):
        made.append(t)
        return torch.zeros(1, 2)

    for start, num_steps, _ in time_blocks(Frames((frame(t) for t in range(40)), 40)):
        assert len(made) == start + num_steps
