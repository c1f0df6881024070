"""Whatever fills gradients follows one protocol: one set of tests for all."""

import inspect

import pytest
import torch

from polystep_snn import DirectCurrent, NodeSpace, NodeStep, PolyStep, SpikingNetwork, WeightSpace, WeightStep
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.errors import InputError
from polystep_snn.polystep.method import Method, StepResult
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank

# With whatever makes a step depend on the steps before.
METHODS = {
    "node": lambda network: PolyStep(network, NodeSpace(num_probed=4, rotate=True, num_windows=2), compile=False, seed=3),
    "weight": lambda network: WeightStep(network, space=WeightSpace(subspace=AdaptiveLowRank(2), redraw_every=2), seed=3),
    "surrogate": lambda network: SurrogateBPTT(network, compile=False),
}
CLASSES = {"node": NodeStep, "weight": WeightStep, "surrogate": SurrogateBPTT}


def make(name):
    network = SpikingNetwork([6, 8, 3], generator=torch.Generator().manual_seed(0))
    return network, METHODS[name](network)


def batch():
    generator = torch.Generator().manual_seed(1)
    return DirectCurrent(5)(2 * torch.rand(12, 6, generator=generator)), torch.randint(3, (12,), generator=generator)


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    @pytest.mark.parametrize("function", ["step", "state_dict", "load_state_dict"])
    def test_arguments_have_the_protocols_names(self, name, function):
        expected = inspect.signature(getattr(Method, function)).parameters
        found = inspect.signature(getattr(CLASSES[name], function)).parameters
        assert list(found) == list(expected)
        # What the protocol leaves out may be left out of every method.
        assert all(found[p].default == expected[p].default for p in expected if expected[p].default is not inspect.Parameter.empty)

    def test_a_step_fills_every_gradient(self, name):
        network, method = make(name)
        inputs, target = batch()
        before = [p.detach().clone() for p in network.parameters()]
        result = method.step(inputs=inputs, target=target, progress=0.25)
        assert isinstance(result, StepResult)
        output = network(torch.stack(list(inputs)))[0]
        assert result.accuracy == (output.argmax(1) == target).float().mean()
        assert result.loss.shape == ()
        assert [r.shape for r in result.rates] == [(8,)]
        assert 0 < result.rates[0].mean() < 1
        assert all(p.grad.shape == p.shape and p.grad.isfinite().all() for p in network.parameters())
        assert all(p.grad.abs().max() > 0 for p in network.parameters())
        assert all(map(torch.equal, network.parameters(), before))

    def test_evaluations_are_a_number(self, name):
        _, method = make(name)
        assert type(method.evaluations) is int
        assert method.evaluations >= 1

    def test_a_stored_state_goes_on_to_the_bit(self, name):
        network, method = make(name)
        for _ in range(3):
            method.step(*batch(), progress=0.5)
        state = {key: value.clone() for key, value in method.state_dict().items()}
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        expected = method.step(*batch(), progress=0.5)
        grads = [p.grad.clone() for p in network.parameters()]
        other, again = make(name)
        if state:
            again.step(*batch(), progress=0.5)
            assert not all(map(torch.equal, grads, [p.grad for p in other.parameters()]))
        again.load_state_dict(state)
        found = again.step(*batch(), progress=0.5)
        assert all(map(torch.equal, grads, [p.grad for p in other.parameters()]))
        assert (found.loss, found.accuracy) == (expected.loss, expected.accuracy)

    def test_a_state_of_another_method_is_refused(self, name):
        _, method = make(name)
        for other in METHODS.keys() - {name}:
            _, source = make(other)
            state = source.state_dict()
            if state or name != "surrogate":
                with pytest.raises(InputError, match="state"):
                    method.load_state_dict(state)
