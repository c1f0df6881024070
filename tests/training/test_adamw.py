"""The optimizer moves as torch's does, bit for bit, and each takes the other's state."""

import copy

import pytest
import torch

from polystep_snn.training.adamw import AdamW


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(shape, generator=generator) for shape in ((7, 33), (7,), (2, 3, 4))]
    ours, theirs = ([torch.nn.Parameter(v.clone()) for v in values] for _ in range(2))
    options = {"lr": 0.01, "weight_decay": 0.1}
    return ours, AdamW(ours, **options), theirs, torch.optim.AdamW(theirs, **options, fused=True), generator


def advance(steps, generator, *sides):
    for _ in range(steps):
        grads = [torch.randn(p.shape, generator=generator) for p in sides[0][0]]
        for parameters, optimizer in sides:
            for p, grad in zip(parameters, grads, strict=True):
                p.grad = grad.clone()
            optimizer.step()


def assert_equal(ours, theirs):
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_it_moves_as_torchs_does_under_a_schedule():
    ours, optimizer, theirs, reference, generator = pair()
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 10) for o in (optimizer, reference)]
    for _ in range(10):
        advance(1, generator, (ours, optimizer), (theirs, reference))
        for schedule in schedules:
            schedule.step()
        assert_equal(ours, theirs)
    found, expected = optimizer.state_dict(), reference.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for index, state in expected["state"].items():
        assert found["state"][index].keys() == state.keys()
        assert all(torch.equal(found["state"][index][name], value) for name, value in state.items())


@pytest.mark.parametrize("ours_first", [True, False])
def test_each_takes_the_others_state(ours_first):
    ours, optimizer, theirs, reference, generator = pair()
    sides = [(ours, optimizer), (theirs, reference)][:: 1 if ours_first else -1]
    (a, one), (b, other) = sides
    advance(3, generator, (a, one))
    with torch.no_grad():
        for p, q in zip(b, a, strict=True):
            p.copy_(q)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    advance(3, generator, (a, one), (b, other))
    assert_equal(a, b)


def test_what_has_no_gradient_stays():
    ours, optimizer, *_ = pair()
    before = [p.detach().clone() for p in ours]
    optimizer.step()
    assert_equal(ours, before)
    assert optimizer.state_dict()["state"] == {}
