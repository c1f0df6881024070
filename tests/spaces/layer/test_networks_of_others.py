"""Networks of other packages are trained as they are."""

import pytest
import torch
from torch import nn

from polystep_snn import LayerSpace, LayerStep

norse = pytest.importorskip("norse.torch", exc_type=ImportError)


class Spoken(nn.Module):
    """Norse's layers, a recurrent one among them, over time."""

    def __init__(self):
        super().__init__()
        first, recurrent = nn.Linear(12, 24), norse.LIFRecurrentCell(24, 24)
        self.layers = norse.SequentialState(first, norse.LIFCell(), nn.Linear(24, 24), recurrent, nn.Linear(24, 3), norse.LICell())

    def forward(self, x):
        state, total = None, 0
        for _ in range(20):
            output, state = self.layers(4 * x, state)
            total = total + output
        return total


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_norse_network_with_a_recurrent_cell_is_trained_as_it_is():
    generator = torch.Generator().manual_seed(0)
    means = 1.5 * torch.randn(3, 12, generator=generator)
    target = torch.arange(300) % 3
    inputs = means[target] + 0.5 * torch.randn(300, 12, generator=generator)
    torch.manual_seed(0)
    network = Spoken().requires_grad_(False)
    step = LayerStep(network, nn.CrossEntropyLoss(reduction="none"), LayerSpace(radius=0.4))
    assert list(step.layers) == ["layers.0", "layers.2", "layers.4"]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    before = (network(inputs).argmax(1) == target).double().mean()
    recurrent = network.layers[3].recurrent_weights.clone()
    for k in range(30):
        some = torch.arange(60) + 60 * (k % 5)
        step.step(inputs[some], target[some])
        optimizer.step()
    assert before < 0.7
    assert (network(inputs).argmax(1) == target).double().mean() > 0.95
    # What is no layer of its own is left alone.
    assert torch.equal(network.layers[3].recurrent_weights, recurrent)
