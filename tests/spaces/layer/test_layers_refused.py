"""What layer space refuses, and what it leaves alone."""

import pytest
import torch
from torch import nn

from polystep_snn import LayerSpace, LayerStep
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from tests.spaces.layer.modules import LOSS, Routed, batch, made, mlp

REFUSED = {
    "no layer": (lambda: LayerStep(nn.ReLU(), LOSS), "has no linear layer"),
    "no such name": (lambda: LayerStep(mlp(), LOSS, LayerSpace(layers=["decoder.*"])), "no layer is called 'decoder"),
    "a budget of two": (lambda: LayerStep(mlp(), LOSS, budget=Budget(2)), "budget"),
    "radius": (lambda: LayerSpace(radius=0.0), "radius is 0.0: choose a positive number"),
    "windows": (lambda: LayerSpace(windows=0), "windows is 0"),
    "correction": (lambda: LayerSpace(correction=2.0), "correction is 2.0"),
    "a scalar loss": (lambda: LayerStep(made(mlp), nn.CrossEntropyLoss()).step(*batch()), "the loss gives []: give one number a sample"),
    "one sample": (lambda: LayerStep(made(mlp), LOSS).step(*batch(1)), "the batch has one sample"),
    "batch statistics": (
        lambda: LayerStep(made(lambda: nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))), LOSS).step(*batch()),
        "one sample depends on another",
    ),
    "NaN": (lambda: LayerStep(made(mlp), LOSS).step(batch()[0] * torch.nan, batch()[1]), "the loss is NaN or infinite"),
    "padding": (
        lambda: LayerStep(nn.Sequential(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")), LOSS),
        "padding mode 'circular'",
    ),
    "a state of something else": (lambda: LayerStep(mlp(), LOSS).load_state_dict({}), "no state of a LayerStep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_probed_is_refused_in_one_line(name):
    function, message = REFUSED[name]
    with pytest.raises(InputError) as error:
        function()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_layers_that_do_not_run_have_no_gradient_and_frozen_ones_are_left_alone():
    module, (inputs, target) = made(Routed), batch()
    with torch.no_grad():
        module.first.bias.fill_(-10)
    LayerStep(module, LOSS).step(inputs, target)
    assert module.second.weight.grad is None
    assert module.first.weight.grad is not None
    module.head.requires_grad_(True)
    step = LayerStep(module, LOSS)
    assert list(step.layers) == ["head"]


def test_a_weight_of_two_layers_gets_the_sum():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.head(self.second(self.first(x).relu()).relu())

    class Untied(Tied):
        def __init__(self):
            super().__init__()
            self.second.weight = nn.Parameter(self.first.weight.clone())

    tied, untied, (inputs, target) = made(Tied), made(Untied), batch()
    for module in (tied, untied):
        LayerStep(module, LOSS, LayerSpace(credit=False)).step(inputs, target)
    torch.testing.assert_close(tied.first.weight.grad, untied.first.weight.grad + untied.second.weight.grad, rtol=0, atol=1e-12)
