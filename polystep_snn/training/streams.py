"""Samples of a run as a network on the chip meets them in the field: clean, or as a sensor sees them to which something has happened."""

from typing import Protocol

import numpy as np
import torch

from polystep_snn.datasets.base import Part, Samples
from polystep_snn.datasets.event_shifts import EVENT_SHIFTS, EventShift
from polystep_snn.datasets.shifts import SHIFTS, Shift
from polystep_snn.errors import InputError
from polystep_snn.hardware.adaptation import Images, SpikeTrains
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import make_feed, spikes_of

_CHUNK = 500


class Sensor(Protocol):
    """What sees samples; to be made by ``sensor_of``."""

    def take(self, part: Part, numbers: np.ndarray) -> Images | SpikeTrains:
        """Some samples of a part, as a sound sensor sees them."""
        ...

    def shifted(self, seen: Images | SpikeTrains, seed: int) -> Images | SpikeTrains:
        """The same after what has happened to it; ``seed`` is that of what is drawn for every sample."""
        ...


class ImageSensor:
    """Sees images; ``sensor`` is the seed of what is its own."""

    def __init__(self, shift: Shift | None, sensor: int):
        self._shift, self._sensor = shift, sensor

    def take(self, part: Part, numbers: np.ndarray) -> Images:
        assert isinstance(part, Samples)
        return Images(part.intensities(numbers), part.labels[numbers].astype(np.int64))

    def shifted(self, seen: Images | SpikeTrains, seed: int) -> Images:
        assert isinstance(seen, Images)
        assert self._shift is not None
        images = seen.images
        # Every channel of a colour image is shifted in the same way.
        if images.ndim == 4:
            channels = [self._shift(images[:, c], seed, sensor=self._sensor) for c in range(images.shape[1])]
            return Images(np.stack(channels, 1), seen.labels)
        return Images(self._shift(images, seed, sensor=self._sensor), seen.labels)


class EventSensor:
    """Sends events: recordings, or sequences of spikes, as the run's network takes them."""

    def __init__(self, config: TrainConfig, shift: EventShift | None, sensor: int):
        self._config, self._shift, self._sensor = config.replace(device="cpu"), shift, sensor

    def take(self, part: Part, numbers: np.ndarray) -> SpikeTrains:
        feed, parts = make_feed(self._config, part), []
        for indices in torch.from_numpy(numbers).split(_CHUNK) if len(numbers) else ():
            frames, _ = feed.batch(indices)
            parts.append(spikes_of(frames).numpy())
        steps = self._config.data.total_steps
        spikes = np.concatenate(parts, 1) if parts else np.zeros((steps, 0, feed.num_inputs), np.uint8)
        return SpikeTrains.of(spikes, part.labels[numbers].astype(np.int64))

    def shifted(self, seen: Images | SpikeTrains, seed: int) -> SpikeTrains:
        assert isinstance(seen, SpikeTrains)
        assert self._shift is not None
        everything = np.arange(len(seen.labels))
        parts = [
            self._shift(seen.spikes(c), seed, self._sensor, int(c[0]))
            for c in np.array_split(everything, len(everything) // _CHUNK + 1)
            if len(c)
        ]
        return SpikeTrains.of(np.concatenate(parts, 1), seen.labels) if parts else seen


def check_shift(text: str) -> None:
    """InputError unless a shift is one of images or of events: before anything is read."""
    kind = text.partition(":")[0]
    if kind not in (*SHIFTS, *EVENT_SHIFTS):
        raise InputError(f"there is no shift {kind!r}: choose one of {', '.join(SHIFTS)}; of events {', '.join(EVENT_SHIFTS)}")
    if kind in SHIFTS:
        Shift.parse(text)
    else:
        EventShift.parse(text)


def sensor_of(config: TrainConfig, part: Part, shift: str | None, sensor: int) -> Sensor:
    """The sensor of a run's data.

    Args:
        config: of the run.
        part: some of its data.
        shift: what has happened to it, as text; None for nothing.
        sensor: seed of what is its own.

    Raises:
        InputError: a shift that such a sensor does not have.
    """
    if isinstance(part, Samples):
        return ImageSensor(None if shift is None else Shift.parse(shift), sensor)
    return EventSensor(config, None if shift is None else EventShift.parse(shift), sensor)
