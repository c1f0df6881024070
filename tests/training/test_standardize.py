"""A first layer that learns as behind standardized inputs, beside a run on standardized inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polystep_snn.datasets import Samples
from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import DirectCurrent, Rate
from polystep_snn.training.build import build_bptt, build_polystep
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import ImageFeed
from polystep_snn.training.standardize import FLOOR, InputStatistics, StandardizedInputs
from polystep_snn.training.trainer import Trainer
from tests.training.small_runs import small_config

CPU = torch.device("cpu")


def test_statistics_of_images_and_of_their_spikes(digits):
    feed = ImageFeed(digits.train, DirectCurrent(5), CPU)
    found = InputStatistics.of(feed, 0)
    images = digits.train.intensities().astype(np.float64).reshape(len(digits.train), -1)
    np.testing.assert_allclose(found.mean, images.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.spread, images.std(0) + FLOOR, atol=1e-6)
    # In 16 steps, a rate code sends 16 times the intensity of these images, which have 16 levels.
    of_spikes = InputStatistics.of(ImageFeed(digits.train, Rate(16), CPU), 0)
    for ours, theirs in zip(of_spikes, found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_step_is_one_behind_standardized_inputs():
    """Plain gradient descent, by autograd: on W and b through the change of coordinates, and on V and c themselves."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(50, 6, generator=generator), torch.randn(50, 3, generator=generator)
    inputs = InputStatistics(x.mean(0), x.std(0) + FLOOR)
    drawn = torch.randn(3, 6, generator=generator)
    weight, bias, v, c = (torch.nn.Parameter(p.clone()) for p in (drawn, torch.zeros(3), drawn, torch.zeros(3)))
    layer = StandardizedInputs(weight, bias, inputs)
    layer.fold()
    ours, theirs = torch.optim.SGD([weight, bias], 0.1), torch.optim.SGD([v, c], 0.1)
    for _ in range(20):
        for optimizer in (ours, theirs):
            optimizer.zero_grad()
        (x @ weight.T + bias - y).square().mean().backward()
        (((x - inputs.mean) / inputs.spread) @ v.T + c - y).square().mean().backward()
        with layer.unfolded():
            ours.step()
        theirs.step()
    torch.testing.assert_close(weight, v / inputs.spread)
    torch.testing.assert_close(bias, c - weight @ inputs.mean)
    assert (v - drawn).abs().max() > 0.1


@pytest.mark.parametrize("make_method", [build_polystep, build_bptt])
def test_a_run_is_one_on_standardized_images(digits, tmp_path, make_method):
    config = small_config(encoder="direct", standardize=True, probed=0, epochs=1, batch_size=400, lr=0.01)
    inputs = InputStatistics.of(ImageFeed(digits.train, DirectCurrent(6), CPU), 0)

    def standardized(samples):
        x = samples.intensities().reshape(len(samples), -1)
        return Samples(
            ((x - inputs.mean.numpy()) / inputs.spread.numpy()).astype(np.float32).reshape(samples.images.shape), samples.labels, 1
        )

    parts = {name: standardized(getattr(digits, name)) for name in ("train", "validation", "test")}
    ours = Trainer(config, tmp_path / "ours", digits, make_method=make_method)
    theirs = Trainer(config.replace(standardize=False), tmp_path / "theirs", replace(digits, **parts), make_method=make_method)
    drawn = theirs.network.weights[0].clone()
    assert [p.v_th for p in ours.network.neurons] == [p.v_th for p in theirs.network.neurons]
    ours.fit()
    theirs.fit()
    moved = theirs.network.weights[0] - drawn
    assert moved.abs().max() > 0.01
    back = ours.network.weights[0] * inputs.spread
    # Roundings differ, so a neuron at its threshold may fire in one of them alone.
    assert ((back - theirs.network.weights[0]).abs() < 0.02 * moved.abs().max()).float().mean() > 0.99
    torch.testing.assert_close(ours.network.biases[0] + ours.network.weights[0] @ inputs.mean, theirs.network.biases[0], atol=1e-3, rtol=0)


def test_convolutions_and_pooling_share_weights():
    for hidden in ("4c3", "p2"):
        with pytest.raises(InputError, match=f"standardize needs a dense first layer, but hidden begins with '{hidden}': leave it out"):
            TrainConfig("mnist", hidden=(hidden, 16), standardize=True)
    assert TrainConfig("mnist", hidden=(16,), standardize=True).optimizer.standardize
