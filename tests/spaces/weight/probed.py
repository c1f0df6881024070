"""What candidates cost, compared with a deep copy of the module for each: shared by the tests of weight space."""

import torch

from polystep_snn.spaces.weight.space import WeightSpace, place
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank, FactoredSpace, FullSpace, HybridLowRank, SparseProjection
from tests.reference import naive_weights

SPACES = {
    "full": FullSpace(),
    "hybrid": HybridLowRank(4),
    "adaptive": AdaptiveLowRank(4),
    "factored": FactoredSpace(4),
    "sparse": SparseProjection(3),
}


def drawn(module, subspace, name, dim=2, radius=0.5):
    """Directions and offsets of a parameter."""
    parameter = module.get_parameter(name)
    history = torch.randn(parameter.shape, dtype=parameter.dtype, generator=torch.Generator().manual_seed(9))
    part = subspace.draw(name, parameter.detach(), torch.Generator().manual_seed(1), history)
    space = WeightSpace(radius=(radius, 2 * radius), subspace=subspace, particle_dim=dim)
    return part, place(part, space, parameter, 0.0, torch.Generator().manual_seed(2)).offsets


def assert_all_costs_are_naive(module, evaluator, loss, inputs, arguments, target, subspace):
    before = {name: p.clone() for name, p in module.state_dict().items()}
    with torch.no_grad():
        naive = {}
        for name, _ in module.named_parameters():
            naive[name] = naive_weights.costs(module, loss, arguments, target, *drawn(module, subspace, name))
        found = evaluator.batch(inputs, target)
        for name, expected in naive.items():
            costs = found.costs(*drawn(module, subspace, name))
            torch.testing.assert_close(costs.double(), expected, rtol=0, atol=1e-10)
    # Not of every parameter: a bias in front of batch normalisation, or of an argmax, changes nothing.
    assert max(float(expected.max() - expected.min()) for expected in naive.values()) > 1e-9
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name])
