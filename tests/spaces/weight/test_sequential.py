"""Sequences of stages: which there are, and that candidates share random numbers."""

import torch
from torch import nn

from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.stages import is_chain
from tests.spaces.weight.modules import MyDropout, batch
from tests.spaces.weight.probed import SPACES, drawn


def test_a_chain_shares_random_numbers_too():
    module = nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, 3)).double()
    x, y = batch()
    torch.manual_seed(3)
    with torch.no_grad():
        found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(x, y)
        for name in ("1.weight", "1.bias", "4.weight"):
            for subspace in SPACES.values():
                part, offsets = drawn(module, subspace, name)
                costs = found.costs(part, torch.zeros_like(offsets))
                torch.testing.assert_close(costs, found.loss.expand_as(costs), rtol=0, atol=1e-12)


def test_what_is_no_chain():
    linear = nn.Linear(3, 3)
    assert is_chain(nn.Sequential(linear, nn.ReLU()))
    assert not is_chain(nn.Sequential(linear, nn.ReLU(), linear))  # one layer twice
    assert not is_chain(MyDropout())  # a forward of its own
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].register_forward_hook(lambda *a: None)
    assert not is_chain(hooked)
    owner = nn.Sequential(nn.Linear(3, 3))
    owner.register_parameter("scale", nn.Parameter(torch.ones(1)))
    assert not is_chain(owner)
