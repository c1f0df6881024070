"""snnTorch: a network of its own is trained in layer space, written by snnTorch as NIR, read here; and ours is read by snnTorch."""

from itertools import pairwise

import nir
import numpy as np
import pytest
import torch
from torch import nn

from polystep_snn import LayerStep, from_nir
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.training.feed import to_tensors
from tests.hardware.formats.written import make, spikes_for

snntorch = pytest.importorskip("snntorch", exc_type=ImportError)
export_to_nir = pytest.importorskip("snntorch.export_nir", exc_type=ImportError).export_to_nir
import_from_nir = pytest.importorskip("snntorch.import_nir", exc_type=ImportError).import_from_nir
NUM_STEPS = 12


def leaky(width):
    """Neurons as snnTorch's NIR export takes them: constants of every neuron, reset to zero in the step of the spike."""
    constants = {"beta": 0.9 * torch.ones(width), "threshold": torch.ones(width)}
    return snntorch.Leaky(**constants, reset_mechanism="zero", reset_delay=False, init_hidden=True)


class Counts(nn.Module):
    """Layers over time: the output's spikes, counted; while it trains, with a share of the membranes that are left."""

    def __init__(self, *sizes):
        super().__init__()
        self.residual = 0.5
        torch.manual_seed(0)
        layers = [layer for m, n in pairwise(sizes) for layer in (nn.Linear(m, n), leaky(n))]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, snntorch.Leaky):
                layer.reset_mem()
        counts = sum(self.layers(x) for _ in range(NUM_STEPS))
        return counts + self.residual * self.layers[-1].mem if self.residual else counts


def cost(output, target):
    return nn.functional.cross_entropy(output, target, reduction="none")


def test_a_network_that_is_trained_as_it_is_comes_back_through_nir(digits, tmp_path):
    network = Counts(64, 48, 10).requires_grad_(False)
    images, labels = to_tensors(digits.train, torch.device("cpu"))
    test_images, test_labels = to_tensors(digits.test, torch.device("cpu"))
    before = float((network(test_images).argmax(1) == test_labels).double().mean())
    step = LayerStep(network, cost)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(5):
        for batch in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
            step.step(images[batch], labels[batch])
            optimizer.step()
    network.residual = 0.0
    expected = network(test_images)
    assert float((expected.argmax(1) == test_labels).double().mean()) > max(0.6, before + 0.3)

    graph = export_to_nir(network.layers, torch.zeros(64))
    nir.write(tmp_path / "theirs.nir", graph)
    ours = from_nir(tmp_path / "theirs.nir", dt=1e-4, reset="zero")
    counts, _ = ours(test_images.expand(NUM_STEPS, *test_images.shape))
    assert expected.mean() > 0.2
    # A membrane at its threshold may fall to either side: weights come back through a product with r.
    assert (counts != expected).double().mean() < 2e-3


def test_snntorch_fires_the_spikes_of_the_chip(tmp_path):
    network = make("count", sizes=(20, 15, 12, 5), dv=205, bias=20)
    nir_format.write(tmp_path / "ours.nir", network)
    model = import_from_nir(nir.read(tmp_path / "ours.nir"))
    x, state, counts = spikes_for(network, samples=64), None, 0
    for frame in torch.from_numpy(x).float():
        found, state = model(frame, state)
        counts = counts + found
    expected = Simulator(network).run(x)
    assert expected.mean() > 0.5
    assert np.mean(counts.detach().numpy() != expected) < 1e-2


def test_without_a_leak_snntorch_refuses_the_graph(tmp_path):
    """Its reader takes no ``IF`` whose input is scaled, which every step but one of 1 s needs."""
    nir_format.write(tmp_path / "ours.nir", make("count"))
    with pytest.raises(AssertionError, match="r != 1 not supported"):
        import_from_nir(nir.read(tmp_path / "ours.nir"))
