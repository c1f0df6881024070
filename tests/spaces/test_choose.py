"""``PolyStep`` takes the space that suits a module, and says which."""

import logging

import pytest
import torch
from torch import nn

from polystep_snn import LayerStep, NodeSpace, NodeStep, PolyStep, SpikingNetwork, WeightStep

LOSS = nn.CrossEntropyLoss(reduction="none")


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize(
    ("module", "arguments", "kind", "said"),
    [
        (SpikingNetwork([6, 4, 3]), (NodeSpace(num_windows=2),), NodeStep, ""),
        (
            nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
            (LOSS,),
            LayerStep,
            "Sequential has 2 layers that can be probed: layer space",
        ),
        (Scale(), (nn.CrossEntropyLoss(),), WeightStep, "Scale has no layers that can be probed: weight space"),
    ],
)
def test_a_module_gets_the_space_that_suits_it(module, arguments, kind, said, caplog):
    with caplog.at_level(logging.INFO, logger="polystep_snn"):
        assert type(PolyStep(module, *arguments, seed=3)) is kind
    assert said in caplog.text
