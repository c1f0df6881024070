"""What a step writes into .grad, and that nothing is differentiated on the way."""

from itertools import combinations

import pytest
import torch

from polystep_snn import (
    CrossEntropy,
    DirectCurrent,
    LIFParameters,
    MembraneReadout,
    NodeSpace,
    PolyStep,
    Rate,
    Schedule,
    Sinkhorn,
    SmoothedCrossEntropy,
    Softmax,
    SpikeCountReadout,
    SpikingNetwork,
)
from polystep_snn.errors import InputError
from polystep_snn.snn.frames import Constant, Frames
from tests.reference import naive_nodes
from tests.spaces.node.test_one_pass import LIF, READOUTS, SIZES, make_batch, make_network


def make_step(network, **options):
    space = NodeSpace(**{"radius": 0.4, "readout_radius": 0.3, **options.pop("space", {})})
    return PolyStep(network, space, options.pop("transport", Softmax(eps=0.7)), CrossEntropy(), compile=False, **options)


def grads(network):
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize(("depth", "windows"), [(1, 1), (2, 1), (3, 1), (1, 3), (2, 5)])
def test_the_gradient_is_the_naive_one(depth, windows, readout):
    network = make_network(SIZES[depth], LIF, readout, seed=20 + depth)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=20)
    step = make_step(network, space={"num_windows": windows})
    result = step.step(inputs, target)
    naive = naive_nodes.gradients(network, inputs, target, step._probes(12, 0.0, network.layers()), CrossEntropy(), Softmax(), 0.7)
    for linear, (weight, bias) in zip(network.linears, naive, strict=True):
        torch.testing.assert_close(linear.weight.grad, weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(linear.bias.grad, bias, rtol=0, atol=1e-9)
        assert weight.abs().max() > 1e-6
    value = naive_nodes.forward(network, inputs)
    assert result.loss == pytest.approx(CrossEntropy()(value.T, target).mean().item(), abs=1e-12)
    assert result.accuracy == (value.argmax(1) == target).double().mean()


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_nothing_is_differentiated_or_kept(readout):
    """No tensor on the way has a history, and autograd is asked to keep nothing."""
    network = make_network(SIZES[2], LIF, readout, seed=30)
    network.requires_grad_(True)  # even if somebody asks for it
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=30)

    def kept(tensor):
        raise AssertionError("autograd kept a tensor")

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept, kept):
        result = make_step(network).step(inputs, target)
    assert not result.loss.requires_grad
    assert all(not p.grad.requires_grad and p.grad.grad_fn is None for p in network.parameters())


def test_subsets_are_unbiased():
    """The mean over all subsets of two of five neurons is the gradient of all five."""
    network = make_network(SIZES[1], LIF, MembraneReadout(), seed=31)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=31)
    step = make_step(network)
    step.step(inputs, target)
    expected = grads(network)
    total = [torch.zeros_like(g) for g in expected]
    whole = step._probes
    for subset in combinations(range(5), 2):
        step._probes = lambda *a, subset=subset: [whole(*a)[0]._replace(neurons=torch.tensor(subset)), whole(*a)[1]]
        step.step(inputs, target)
        for t, g in zip(total, grads(network), strict=True):
            t += g / 10
    for t, g in zip(total, expected, strict=True):
        torch.testing.assert_close(t, g, rtol=0, atol=1e-12)


def test_random_subsets_and_rotations_follow_the_seed():
    network = make_network(SIZES[2], LIF, MembraneReadout(), seed=32)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=32)

    def run(seed, **space):
        make_step(network, seed=seed, space=space).step(inputs, target)
        return grads(network)

    for space in ({"num_probed": 2}, {"num_windows": 3, "rotate": True}):
        assert all(map(torch.equal, run(1, **space), run(1, **space)))
        assert not all(map(torch.equal, run(1, **space), run(2, **space)))
    assert (run(1, num_probed=2)[0].abs().sum(1) > 0).sum() <= 2


def test_a_state_goes_on_where_it_was_taken():
    network = make_network(SIZES[2], LIF, MembraneReadout(), seed=33)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=33)

    def steps(step, count):
        found = []
        for _ in range(count):
            step.step(inputs, target)
            found.append(grads(network))
        return found

    space = {"num_probed": 2, "num_windows": 3, "rotate": True}
    whole = make_step(network, seed=1, space=space)
    steps(whole, 2)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    other = make_step(network, seed=2, space=space)
    other.load_state_dict(state)
    for mine, expected in zip(steps(other, 2), steps(whole, 2), strict=True):
        assert all(map(torch.equal, mine, expected))
    with pytest.raises(InputError, match="no state of a NodeStep: 'generator' is missing"):
        other.load_state_dict({"steps": torch.tensor(3)})


def test_chunks_change_no_bit_of_the_gradient():
    network = make_network([20, 16, 12, 3], LIF, MembraneReadout(), seed=33).float()
    inputs, target = make_batch(num_steps=9, num_inputs=20, seed=33, batch=17)
    results = []
    for chunk in (None, 1, 5):
        make_step(network, space={"chunk": chunk}).step(inputs.float(), target)
        results.append(grads(network))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("num_steps", [5, 40])
def test_neither_chunks_nor_threads_change_a_bit_of_what_loops_compute(num_steps):
    network = make_network([900, 40, 30, 3], LIF, MembraneReadout(), seed=33).float()
    inputs, target = make_batch(num_steps=num_steps, num_inputs=900, seed=33, batch=70)
    image = Constant((inputs[0] * (inputs[0] < 0.2)).float(), num_steps)
    before = torch.get_num_threads()
    try:
        for frames in (inputs.float(), image):
            results = []
            for chunk, threads in ((None, 1), (5, 1), (None, 2), (100, 3)):
                torch.set_num_threads(threads)
                step = PolyStep(network, NodeSpace(chunk=chunk, num_windows=2))
                assert step.kernels.loops
                step.step(frames, target)
                results.append(grads(network))
            assert sum(bool(g.abs().max() > 0) for g in results[0]) >= 4
            for other in results[1:]:
                assert all(map(torch.equal, results[0], other))
    finally:
        torch.set_num_threads(before)


def test_schedules_are_read_at_the_progress():
    network = make_network(SIZES[1], LIF, READOUTS["count"], seed=34)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=34)

    def run(progress=0.0, **options):
        make_step(network, **options).step(inputs, target, progress)
        return grads(network)

    moving = run(0.5, space={"radius": Schedule(0.2, 0.6)}, transport=Softmax(eps=Schedule(1.0, 0.4)), residual=Schedule(0.5, 0.0))
    still = run(space={"radius": 0.4}, transport=Softmax(eps=0.7), residual=0.25)
    assert all(map(torch.equal, moving, still))
    assert not all(map(torch.equal, moving, run(0.9, residual=Schedule(0.5, 0.0))))


def test_sinkhorn_bounds_the_displacement_too():
    network = make_network(SIZES[1], LIF, MembraneReadout(), seed=35)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=35)
    make_step(network, transport=Sinkhorn(eps=0.7, max_iterations=1000, tolerance=1e-12)).step(inputs, target)
    # Both vertices receive the same mass from all particles, so the displacements of a layer cancel.
    assert abs(network.linears[0].bias.grad.sum()) < 1e-6
    assert network.linears[0].weight.grad.abs().max() > 1e-3


def test_descent_on_a_separable_task():
    """Two classes, told apart by which half of the input is on: a few steps suffice."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([10, 16, 2], generator=generator)
    target = torch.randint(2, (64,), generator=generator)
    image = torch.zeros(64, 10)
    image[torch.arange(64), target * 5 + torch.randint(5, (64,), generator=generator)] = 1.0
    step = PolyStep(network, compile=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        result = step.step(DirectCurrent(10)(image), target)
        optimizer.step()
    assert result.accuracy == 1
    assert result.loss < 0.1


@pytest.mark.parametrize("readout", [MembraneReadout(), SpikeCountReadout(LIFParameters(v_th=4.0))], ids=["membrane", "count"])
def test_radii_are_in_thresholds(readout):
    network = SpikingNetwork([6, 5, 4, 3], [LIFParameters(v_th=0.5), LIFParameters(v_th=2.0)], readout)
    probes = make_step(network, space={"radius": 0.4, "readout_radius": 0.3, "num_windows": 2})._probes(5, 0.0, network.layers())
    corners = [[1, 0], [-1, 0], [0, 1], [0, -1]]
    torch.testing.assert_close(probes[0].offsets, 0.4 * 0.5 * torch.tensor(corners))
    torch.testing.assert_close(probes[1].offsets, 0.4 * 2.0 * torch.tensor(corners))
    assert probes[1].windows.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]]
    if isinstance(readout, MembraneReadout):
        torch.testing.assert_close(probes[2].offsets, 0.3 * torch.tensor([[1.0], [-1.0]]))
        assert probes[2].windows.tolist() == [[1]] * 5
    else:
        torch.testing.assert_close(probes[2].offsets, 0.3 * 4.0 * torch.tensor(corners))


BEYOND = r"linears.1.bias contains numbers beyond 1e\+15"


def nan_in(network, name, value=float("nan")):
    with torch.no_grad():
        network.get_parameter(name)[0] = value
    return network


NET = lambda: SpikingNetwork([6, 5, 3])  # noqa: E731
X, Y = torch.rand(4, 2, 6), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolyStep(SpikingNetwork([6, 3])), "no neuron that fires"),
        (lambda: PolyStep(NET(), compile=False).step(torch.rand(4, 2, 7), Y), r"\[4, 2, 7\]: give torch.float32 \[T, B, ...\] with 6"),
        (lambda: PolyStep(NET(), compile=False).step(torch.rand(4, 6), Y), r"\[4, 6\]"),
        (lambda: PolyStep(NET(), compile=False).step(X.double(), Y), "float64"),
        (lambda: PolyStep(NET(), compile=False).step(X, Y.int()), "int64 classes"),
        (lambda: PolyStep(NET(), compile=False).step(X, torch.tensor([0, 3])), "a target is 3"),
        (lambda: PolyStep(NET(), compile=False).step(X, torch.tensor([-1, 0])), "a target is -1"),
        (lambda: PolyStep(NET(), compile=False).step(X, Y[:1]), "1 targets for 2 samples"),
        (lambda: PolyStep(NET(), compile=False).step(X[:, :0], Y[:0]), "batch is empty"),
        (lambda: PolyStep(NET(), compile=False).step(X[:0], Y), "no timesteps"),
        (lambda: PolyStep(NET(), compile=False).step(torch.full_like(X, float("inf")), Y), "the input contains NaN or infinity"),
        (lambda: PolyStep(nan_in(NET(), "linears.0.bias"), compile=False).step(X, Y), "linears.0.bias contains NaN"),
        (lambda: PolyStep(nan_in(NET(), "linears.1.bias", 3e38), compile=False).step(X, Y), BEYOND),
        (lambda: PolyStep(SpikingNetwork([6, 2, 3], LIFParameters(tau_syn_inv=100.0, i_0=(1.0, 2.0)))), "i_0 gives neurons a current"),
        (lambda: PolyStep(NET(), compile=False).step(X.numpy(), Y), "inputs and targets are ndarray and Tensor"),
        (lambda: PolyStep(NET(), compile=False).step(X, [0, 2]), "inputs and targets are Tensor and list"),
        (lambda: PolyStep(NET(), compile=False).step(Rate(4)(X[0]), Y[:1]), r"\[2, 6\] a step: give torch.float32 \[1, 6\]"),
        (lambda: PolyStep(NET(), compile=False).step(Frames(list(X), 5), Y), "ended after 4 of 5"),
        (lambda: PolyStep(NET(), compile=False).step(Frames(list(X), 3), Y), "goes on after the 3 timesteps"),
        (lambda: PolyStep(NET(), compile=False).step(Frames([X[0], X[1, :1]], 2), Y), "differ in shape"),
        (lambda: PolyStep(NET(), NodeSpace(num_windows=5), compile=False).step(X, Y), "num_windows is 5, but there are 4"),
        (lambda: PolyStep(NET(), residual=0.5), "a membrane readout is its membrane"),
        (lambda: CrossEntropy(float("nan")), "scale is nan"),
        (lambda: SmoothedCrossEntropy(1.0, 1.0), "smoothing is 1: choose a fraction from 0 to below 1"),
        (lambda: Schedule(float("nan"), 1.0), "must be finite"),
        (lambda: NodeSpace(num_probed=0), "num_probed is 0"),
        (lambda: NodeSpace(polytope="ball"), "no polytope 'ball'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
