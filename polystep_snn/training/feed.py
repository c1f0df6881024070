"""Where a network's batches come from: images through an encoder; or event recordings and sequences, which need none.

A feed gives a batch as ``Frames``, one timestep at a time: neither training nor evaluation ever holds a batch's ``[T, B, N]``.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from polystep_snn.datasets import Samples
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.base import Part, Sequences
from polystep_snn.datasets.config import EVENTS, SEQUENCE
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.image_augment import ImageAugmentation
from polystep_snn.datasets.sequence_augment import SequenceAugmentation
from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import Encoder
from polystep_snn.snn.frames import EventFrames, Frames, with_blank_steps
from polystep_snn.training.build import build_augmentation, build_encoder
from polystep_snn.training.config import TrainConfig


class Feed(Protocol):
    """Samples as a network sees them."""

    @property
    def labels(self) -> Tensor:
        """Classes ``[n]``, int64, or real targets ``[n, D]``, float32, on the device."""
        ...

    @property
    def num_inputs(self) -> int:
        """Values in a frame."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[Frames, Tensor]:
        """Some of the samples.

        Args:
            indices: ``[B]`` int64, on any device.
            epoch: from 0; what is changed at random is changed in another way in every epoch.
            generator: source of the encoder's randomness, on the device.

        Returns:
            Frames ``[B, N]``, to be iterated over once unless they are events, and classes ``[B]``.
        """
        ...


class ImageFeed:
    """Images through an encoder. They are kept as they are, four times smaller than intensities where pixels have 8 bits.

    Args:
        samples: the images.
        encoder: makes frames of their intensities.
        device: where they are kept and encoded.
        augmentation: what may happen to an image, a function of its own seed, the epoch and the image's place in ``samples`` alone; None:
            nothing.
    """

    def __init__(self, samples: Samples, encoder: Encoder, device: torch.device, augmentation: ImageAugmentation | None = None):
        # Of what cannot be written to, such as a mapped file, torch would warn.
        self.images = torch.from_numpy(np.require(samples.images, requirements="W")).flatten(1).to(device)
        self.labels, self.full_scale = targets_of(samples, device), samples.full_scale
        self.encoder, self.augmentation, self._shape = encoder, augmentation or ImageAugmentation(), samples.shape
        self.num_inputs = encoder.num_channels(self.images.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[Frames, Tensor]:
        """See ``Feed``."""
        numbers, indices = indices, indices.to(self.labels.device)
        images = self.intensities(indices)
        if self.augmentation.changes:
            sources = torch.from_numpy(self.augmentation.sources(numbers.cpu().numpy(), self._shape, epoch)).to(images.device)
            images = torch.nn.functional.pad(images, (0, 1)).gather(1, sources)
        return self.encoder(images, generator), self.labels[indices]

    def intensities(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """``[B, N]`` float32 of the images at ``indices``, or of all."""
        return self.images[indices].to(torch.float32) / self.full_scale


class EventFeed:
    """Event recordings, framed.

    Args:
        samples: the recordings.
        device: where frames go.
        augmentation: what may happen to a recording, a function of its own seed, the epoch and the recording alone; None: nothing.
    """

    def __init__(self, samples: EventSamples, device: torch.device, augmentation: Augmentation | None = None):
        self.samples, self.device, self.augmentation = samples, device, augmentation
        self.labels = targets_of(samples, device)
        self.num_inputs = samples.num_channels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[EventFrames, Tensor]:
        """See ``Feed``; nothing is drawn from the generator."""
        places, values = self.samples.places(indices.cpu().numpy(), self.augmentation, epoch)
        shape = self.samples.num_steps, len(indices), self.num_inputs
        numbers = None if values is None else torch.from_numpy(values).to(self.device, torch.float32)
        return EventFrames(torch.from_numpy(places).to(self.device), shape, numbers), self.labels[indices.to(self.device)]


class SequenceFeed:
    """Sequences, a step of each at a time.

    Args:
        samples: the sequences.
        device: where frames go.
        augmentation: what may happen to a sequence, a function of its own seed, the epoch and the sequence alone; None: nothing.
    """

    def __init__(self, samples: Sequences, device: torch.device, augmentation: SequenceAugmentation | None = None):
        self.samples, self.device, self.augmentation = samples, device, augmentation or SequenceAugmentation()
        self.labels = targets_of(samples, device)
        self.num_inputs = samples.values.shape[2]
        # Where a band never has two spikes in a step, it has none after its sequence was changed.
        self._most = int(samples.values.max(initial=1)) if samples.holds_spikes else 1

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[Frames, Tensor]:
        """See ``Feed``; nothing is drawn from the generator."""
        frames = self.augmentation.frames(self.samples, indices.cpu().numpy(), epoch, self._most)
        steps = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device, torch.float32)
        return Frames(steps, len(steps)), self.labels[indices.to(self.device)]


class BlankFeed:
    """What another feed gives, and steps without input behind it, in which spikes that are on their way arrive.

    Args:
        feed: the other one.
        num_steps: without input.
    """

    def __init__(self, feed: Feed, num_steps: int):
        self._feed, self._num_steps = feed, num_steps
        self.labels, self.num_inputs = feed.labels, feed.num_inputs

    def __len__(self) -> int:
        return len(self._feed)

    def batch(self, indices: Tensor, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[Frames, Tensor]:
        """See ``Feed``."""
        frames, labels = self._feed.batch(indices, epoch, generator)
        return with_blank_steps(frames, self._num_steps), labels


def make_feed(config: TrainConfig, samples: Part, training: bool = False) -> Feed:
    """The feed of a run for some of its samples.

    Args:
        config: of the run, resolved.
        samples: what is fed.
        training: whether samples are augmented.

    Raises:
        InputError: an encoder that is not for such samples, recordings of another number of steps.
    """
    feed = _make_feed(config, samples, training)
    return BlankFeed(feed, config.data.blank_steps) if config.data.blank_steps else feed


def _make_feed(config: TrainConfig, samples: Part, training: bool) -> Feed:
    device = torch.device(config.run.device)
    if isinstance(samples, Samples):
        if config.data.encoder in (EVENTS, SEQUENCE):
            raise InputError(f"encoder is {config.data.encoder!r}, but {config.data.dataset} holds images: choose another encoder")
        return ImageFeed(samples, build_encoder(config), device, config.data.image_augmentation(config.run.seed) if training else None)
    if isinstance(samples, Sequences):
        if config.data.encoder != SEQUENCE:
            raise InputError(f"encoder is {config.data.encoder!r}, but {config.data.dataset} holds sequences: choose {SEQUENCE!r}")
        if samples.num_steps != config.data.num_steps:
            raise InputError(
                f"the sequences have {samples.num_steps} steps, but the configuration says {config.data.num_steps}: give the same"
            )
        return SequenceFeed(samples, device, config.data.sequence_augmentation(config.run.seed) if training else None)
    if not isinstance(samples, EventSamples):
        raise InputError(f"{config.data.dataset} holds {type(samples).__name__}: give Samples, EventSamples or Sequences")
    if config.data.encoder != EVENTS:
        raise InputError(f"encoder is {config.data.encoder!r}, but {config.data.dataset} holds event recordings: choose {EVENTS!r}")
    if samples.num_steps != config.data.num_steps or samples.counts != config.data.counts:
        raise InputError(
            f"the recordings were framed with {samples.num_steps} steps and counts {samples.counts}, but the configuration says "
            f"{config.data.num_steps} and {config.data.counts}: load them with its own framing"
        )
    return EventFeed(samples, device, build_augmentation(config) if training else None)


def spikes_of(frames: Frames) -> Tensor:
    """What backends take of a batch: ``[T, B, M]`` uint8."""
    return torch.stack([frame.flatten(1).to(torch.uint8) for frame in frames])


def targets_of(samples: Part, device: torch.device) -> Tensor:
    """Classes ``[n]``, int64, or real targets ``[n, D]``, float32."""
    return torch.from_numpy(samples.labels.astype(np.int64 if samples.labels.ndim == 1 else np.float32)).to(device)


def to_tensors(samples: Samples, device: torch.device) -> tuple[Tensor, Tensor]:
    """Intensities ``[n, N]`` float32 of samples, and their targets as of ``targets_of``, on a device."""
    return torch.from_numpy(samples.intensities()).flatten(1).to(device), targets_of(samples, device)
