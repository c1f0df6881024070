"""What weight space refuses, each time in one line that says why."""

import pytest
import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from tests.spaces.weight.modules import Point, classes, classifier, full


class Nothing(nn.Module):
    def forward(self, x):
        return x


def with_integer():
    module = classifier()
    module.register_parameter("number", nn.Parameter(torch.ones(3, dtype=torch.int32), requires_grad=False))
    return module


CE = nn.CrossEntropyLoss()


X, Y = classes(8)


def nan_at_candidates():
    """The unprobed loss is finite, that of candidates is not."""
    module = Point(1.0, 1.0)
    return WeightStep(module, lambda x, _: torch.where((x == 1.0).all(), x.sum(), torch.nan), full())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: WeightStep(Nothing(), CE), "Nothing has no floating-point parameters"),
        (lambda: WeightStep(classifier(), CE, parameters=["body.*"]), r"no parameter is called 'body\.\*': there are 0.weight, 0.bias"),
        (lambda: WeightStep(classifier(), CE, parameters="0.weight"), "give a list"),
        (lambda: WeightStep(classifier(), CE, parameters=[]), "no parameters are chosen"),
        (lambda: WeightStep(with_integer(), CE, parameters=["number"]), "number is torch.int32"),
        (lambda: WeightStep(classifier()), "loss is None"),
        (lambda: WeightStep(classifier(), CE, memory=-1), "memory is -1"),
        (lambda: WeightSpace(redraw_every=0), "redraw_every is 0"),
        (lambda: WeightSpace(blocks="rows"), "blocks is 'rows'"),
        (lambda: WeightSpace(polytope="ball"), "choose one of orthoplex"),
        (lambda: WeightSpace(particle_dim=0), "dimension 0"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(-1.0)).step(X, Y), "positive"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(blocks=[["0.*"]])), "no block holds 2.weight, 2.bias"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(blocks=[["*"], ["5.*"]])), r"the block \['5\.\*'\]"),
        (lambda: WeightStep(classifier(), lambda o, t: o.sum() * torch.nan).step(X, Y), "the loss is nan"),
        (lambda: WeightStep(classifier(), lambda o, t: o).step(X, Y), r"the loss has shape \[8, 3\]"),
        (lambda: nan_at_candidates().step(None), "the loss of 4 of 4 candidates of x is NaN or infinite"),
        (lambda: WeightStep(classifier(), CE).load_state_dict({}), "'steps' is missing"),
        (lambda: WeightStep(classifier(), CE).load_state_dict({"steps": torch.tensor(1), "history.x": X}), "which is not trained here"),
        (lambda: Budget(0), "the budget is 0"),
        (lambda: Budget(1.5), "the budget is 1.5"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message):
        run()
