"""What weight space must say and do of modules that it can evaluate many candidates of at a time."""

import logging

import torch

from polystep_snn import WeightSpace, WeightStep


def assert_evaluated_at_once(network, name, x, target, loss, caplog):
    """A step says so, and candidates of the parameter ``name`` give what they give one at a time."""
    step = WeightStep(network, loss, WeightSpace())
    with caplog.at_level(logging.INFO, "polystep_snn"):
        step.step(x, target)
    assert f"candidates of {type(network).__name__} are evaluated many at a time (vmap)" in caplog.text
    assert "one at a time" not in caplog.text
    weights = torch.stack([network.get_parameter(name).detach() * scale for scale in (1.0, -1.0)])
    many = torch.vmap(lambda weight: torch.func.functional_call(network, {name: weight}, (x,)))(weights)
    torch.testing.assert_close(many[0], network(x), rtol=0, atol=1e-12)
    assert (many[0] - many[1]).abs().max() > 1e-3
