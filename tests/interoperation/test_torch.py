"""What fills ``.grad`` goes with torch's optimizers and schedulers; several processes are in ``tests/training/test_workers.py``."""

import pytest
import torch

from polystep_snn import DirectCurrent, PolyStep, SpikingNetwork


def made():
    network = SpikingNetwork([12, 20, 4], generator=torch.Generator().manual_seed(0))
    return network, PolyStep(network, compile=False)


X = torch.rand(30, 12, generator=torch.Generator().manual_seed(1))
Y = torch.arange(30) % 4
ENCODER = DirectCurrent(8)


def test_sgd_with_groups_and_a_scheduler_does_what_it_says():
    network, polystep = made()
    groups = [{"params": network.weights, "lr": 0.5, "weight_decay": 0.1}, {"params": network.biases, "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    expected = [p.clone() for p in (*network.weights, *network.biases)]
    momentum = [torch.zeros_like(p) for p in expected]
    for k in range(3):
        polystep.step(ENCODER(X), Y)
        for i, p in enumerate((*network.weights, *network.biases)):
            decay, lr = (0.1, 0.5) if i < 2 else (0.0, 0.2)
            momentum[i] = 0.9 * momentum[i] + p.grad + decay * expected[i]
            expected[i] = expected[i] - 0.5**k * lr * momentum[i]
        optimizer.step()
        scheduler.step()
        for p, own in zip((*network.weights, *network.biases), expected, strict=True):
            torch.testing.assert_close(p.detach(), own)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad", "Rprop"])
def test_any_optimizer_makes_the_cost_smaller(kind):
    network, polystep = made()
    optimizer = getattr(torch.optim, kind)(network.parameters(), lr=1.0 if kind == "SGD" else 1e-2)
    losses = []
    for _ in range(40):
        losses.append(float(polystep.step(ENCODER(X), Y).loss))
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
