"""Where batches come from: images and recordings alike, step by step."""

import numpy as np
import pytest
import torch

from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.base import Samples
from polystep_snn.datasets.image_augment import ImageAugmentation
from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import DirectCurrent, Poisson, Rate, make_encoder
from polystep_snn.snn.frames import Constant
from polystep_snn.training.build import build_cost, build_network, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import EventFeed, ImageFeed, make_feed, to_tensors
from polystep_snn.training.metrics import evaluate, firing_rates
from tests.training.blinks import (
    NUM_STEPS,
    SHAPE,
    blinks,  # noqa: F401 (fixtures)
    event_config,
    recordings,
)

CPU = torch.device("cpu")


def test_images_come_through_the_encoder(digits):
    images, labels = to_tensors(digits.train, CPU)
    feed = ImageFeed(digits.train, Poisson(5), CPU)
    indices = torch.tensor([7, 0, 1200])
    frames, y = feed.batch(indices, 3, torch.Generator().manual_seed(1))
    expected = torch.stack(list(Poisson(5)(images[indices], torch.Generator().manual_seed(1))))
    assert torch.equal(torch.stack(list(frames)), expected)
    assert torch.equal(y, labels[indices])
    assert (len(feed), feed.num_inputs, len(frames)) == (1257, 64, 5)
    assert isinstance(ImageFeed(digits.train, DirectCurrent(5), CPU).batch(indices)[0], Constant)
    assert ImageFeed(digits.train, make_encoder("population", 5), CPU).num_inputs == 256


@pytest.mark.parametrize("samples", ["bytes", "floats"])
def test_images_come_moved_and_mirrored(digits, samples):
    part, augmentation = digits.train, ImageAugmentation(shift=1, flip_lr=0.5, seed=9)
    if samples == "floats":
        part = Samples(part.intensities(), part.labels, 1)
    feed, plain = ImageFeed(part, DirectCurrent(5), CPU, augmentation), ImageFeed(part, DirectCurrent(5), CPU)
    indices = torch.tensor([700, 3, 1256, 3])
    found, labels = feed.batch(indices, 4)
    images = np.append(part.intensities(indices.numpy()).reshape(4, 64), np.zeros((4, 1), np.float32), 1)
    expected = np.take_along_axis(images, augmentation.sources(indices.numpy(), (8, 8), 4), 1)
    assert np.array_equal(found.current.numpy(), expected)
    assert torch.equal(labels, plain.batch(indices)[1])
    assert not torch.equal(found.current, plain.batch(indices, 4)[0].current)
    assert not torch.equal(found.current, feed.batch(indices, 5)[0].current)


@pytest.mark.parametrize("augmentation", [None, Augmentation(shift=2, jitter=0.5, drop=0.2, seed=9)])
@pytest.mark.parametrize("counts", [False, True])
def test_recordings_come_as_their_frames(augmentation, counts):
    samples = recordings(9, counts=counts)
    feed = EventFeed(samples, CPU, augmentation)
    indices = torch.tensor([8, 2, 2, 5])
    frames, labels = feed.batch(indices, epoch=4)
    assert (len(feed), feed.num_inputs, len(frames)) == (9, 60, NUM_STEPS)
    assert labels.tolist() == [2, 2, 2, 2]
    assert labels.dtype == torch.int64
    found = torch.stack(list(frames))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), samples.frames(indices.numpy(), augmentation, 4))
    assert bool((found > 1).any()) == counts


def test_a_recording_is_changed_by_its_epoch_and_by_nothing_else():
    feed = EventFeed(recordings(9), CPU, Augmentation(shift=2, drop=0.3, seed=1))

    def frames(indices, epoch):
        return torch.stack(list(feed.batch(torch.tensor(indices), epoch)[0]))

    alone = frames([4], 2)
    assert torch.equal(frames([8, 4, 1], 2)[:, 1:2], alone)
    assert not torch.equal(frames([4], 3), alone)


def test_what_a_run_feeds(digits, blinks):
    feed = make_feed(event_config(), blinks.train, training=True)
    assert feed.augmentation == Augmentation(shift=1, jitter=0.3, time_jitter=0.5, drop=0.1, seed=0)
    assert make_feed(event_config(), blinks.train).augmentation is None
    assert isinstance(make_feed(TrainConfig("digits", encoder="rate", device="cpu"), digits.test).encoder, Rate)
    changed = TrainConfig("digits", shift=1, flip_lr=0.25, seed=3, device="cpu")
    assert make_feed(changed, digits.train, training=True).augmentation == ImageAugmentation(1, 0.25, 3)
    assert not make_feed(changed, digits.train).augmentation.changes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (event_config(encoder="rate", shift=0, jitter=0, time_jitter=0, drop=0), "encoder is 'rate', but blinks holds event recordings"),
        (event_config(num_steps=10), "framed with 12 steps and counts False, but the configuration says 10 and False"),
        (event_config(counts=True), "but the configuration says 12 and True"),
    ],
)
def test_recordings_that_do_not_fit_the_configuration(blinks, config, message):
    with pytest.raises(InputError, match=message):
        make_feed(config, blinks.train)


def test_images_are_no_events(digits):
    with pytest.raises(InputError, match="encoder is 'events', but digits holds images"):
        make_feed(TrainConfig("digits", encoder="events", device="cpu"), digits.train)
    with pytest.raises(InputError, match="digits holds ndarray: give Samples, EventSamples or Sequences"):
        make_feed(TrainConfig("digits", device="cpu"), digits.train.images)


@pytest.mark.parametrize("limit", [None, 4])
def test_scores_are_those_of_the_frames(blinks, limit):
    config = resolve(event_config())
    network, feed, cost = build_network(config, SHAPE, 3), make_feed(config, blinks.test), build_cost(config)
    frames = torch.from_numpy(blinks.test.frames(np.arange(15)[:limit])).float()
    output, _ = network(frames)
    labels = torch.from_numpy(blinks.test.labels[:limit])
    score = evaluate(network, feed, cost, limit, batch_size=4)
    assert torch.equal(score.predictions, output.argmax(1))
    assert score.accuracy == (output.argmax(1) == labels).double().mean()
    assert score.loss == pytest.approx(cost(output.T, labels).mean().item())
    rate, state = torch.zeros(20), network.initial_state(len(labels))
    for frame in frames:
        (z,), state = network.step(frame, state)
        rate += z.mean(0) / NUM_STEPS
    assert torch.allclose(firing_rates(network, feed, limit)[0], rate)
