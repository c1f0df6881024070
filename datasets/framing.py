"""From the events of a recording to time steps: what is cut off, cleaned, moved, and how time becomes steps.

A recording is an array of tonic's events, with the fields ``x``, ``y`` (pixels), ``t`` (µs, never decreasing) and ``p``
(polarity). Framing gives every event the step that it falls into and its channel, ``(p * height + y) * width + x``::

    time     step = floor(t * T / window)            bins of equal width
    count    step = floor(i * T / n)                 the i-th of n events: bins of equal numbers of events

Frames are kept in this sparse form (``polystep_snn.datasets.events``).
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from polystep_snn.datasets.optional import tonic
from polystep_snn.errors import InputError

# The sensor of N-MNIST makes three saccades along a triangle (Orchard et al. 2015, section 2.3), each in its own 105 ms.
SACCADE_US = 105_000
_BINNINGS = ("time", "count")

Sensor = tuple[int, int, int] | tuple[int, int]
"""Width, height and number of polarities, as tonic's ``sensor_size``; two polarities where they are left out."""


class Framed(NamedTuple):
    """A recording after framing: ``steps`` and ``channels`` ``[n]``, uint16, and how many events came after the window."""

    steps: np.ndarray
    channels: np.ndarray
    late: int


@dataclass(frozen=True)
class Framing:
    """How events become frames. The steps are taken in this order: window, denoising, stabilisation, crop, polarity, binning.

    Attributes:
        num_steps: T, the number of frames.
        window_us: events from this time on are dropped and counted. ``SACCADE_US`` keeps the first saccade only.
        bin_by: "time" or "count".
        denoise_us: an event with no event of a neighbouring pixel in the last so many µs is dropped (``tonic.transforms.Denoise``,
            which keeps all events of the first so many µs); 0 keeps all.
        stabilize: undo the motion of N-MNIST's three saccades, as its authors do (``tonic.datasets.nmnist.stabilize``).
        crop: left, top, width and height in pixels of the part of the sensor that is kept; None keeps all.
        polarity: ON and OFF events as two channels, else both in one; a sensor without polarities has one channel in any case.
        counts: a frame holds the number of events, at most 255, else 0 or 1.

    Raises:
        InputError: a value out of its range.
    """

    num_steps: int = 30
    window_us: int = 3 * SACCADE_US
    bin_by: str = "time"
    denoise_us: int = 0
    stabilize: bool = False
    crop: tuple[int, int, int, int] | None = None
    polarity: bool = True
    counts: bool = False

    def __post_init__(self):
        for name, lowest, highest in (("num_steps", 1, 65_535), ("window_us", 1, 2**62 // 65_535), ("denoise_us", 0, 2**31)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
                raise InputError(f"{name} is {value!r}: give an integer from {lowest} to {highest}")
        if self.num_steps > self.window_us:
            raise InputError(f"num_steps is {self.num_steps} in a window of {self.window_us} µs: give at least 1 µs a step")
        if self.bin_by not in _BINNINGS:
            raise InputError(f"bin_by is {self.bin_by!r}: choose one of {', '.join(_BINNINGS)}")
        if self.crop is not None and not (len(self.crop) == 4 and min(self.crop) >= 0 and min(self.crop[2:]) >= 1):
            raise InputError(f"crop is {self.crop}: give left, top, width and height in pixels")

    @classmethod
    def of_bin_width(cls, bin_us: int, window_us: int = 3 * SACCADE_US, **settings: Any) -> "Framing":
        """Bins of ``bin_us`` µs, as many as it takes to cover the window, which ends with the last of them; other settings as above."""
        if bin_us < 1:
            raise InputError(f"bin_us is {bin_us}: give at least 1 µs")
        num_steps = -(-window_us // bin_us)
        return cls(num_steps, num_steps * bin_us, **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, for the key of a cache."""
        return asdict(self)

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        """Channels, height and width of a frame.

        Args:
            sensor: see ``Sensor``.

        Raises:
            InputError: a crop that leaves the sensor, or more units than a cache can number.
        """
        polarities = sensor[2] if len(sensor) == 3 else 2
        left, top, width, height = self.crop or (0, 0, *sensor[:2])
        if left + width > sensor[0] or top + height > sensor[1]:
            raise InputError(f"crop is {self.crop}, but the sensor has {sensor[0]} x {sensor[1]} pixels: stay inside")
        shape = (polarities if self.polarity else 1, height, width)
        if np.prod(shape) > 65_535:
            raise InputError(f"a frame of {shape} has {np.prod(shape)} values, at most 65535 can be numbered: crop it")
        return shape

    def frame(self, events: np.ndarray, sensor: Sensor, where: str) -> Framed:
        """Step and channel of every event that is kept; without ``counts`` of one event in each place of a frame.

        Args:
            events: a recording that has passed ``check_events``; may be changed in place.
            sensor: see ``Sensor``.
            where: its name, for messages.

        Raises:
            InputError: no event is left.
        """
        shape = self.shape(sensor)
        kept = events[: np.searchsorted(events["t"], self.window_us)]
        late = len(events) - len(kept)
        _refuse_nothing(kept, where, f"before {self.window_us} µs: choose a longer window_us")
        if self.denoise_us:
            kept = tonic("transforms").Denoise(filter_time=self.denoise_us)(kept)
            _refuse_nothing(kept, where, f"after denoising with {self.denoise_us} µs: choose a longer denoise_us")
        if self.stabilize:
            kept = tonic("datasets.nmnist").stabilize(kept)
            _refuse_nothing(kept, where, "after stabilisation: leave it out")
        x, y, p = (kept[field].astype(np.int64) for field in ("x", "y", "p"))
        t = kept["t"]
        if self.crop is not None:
            x, y = x - self.crop[0], y - self.crop[1]
            inside = (x >= 0) & (x < shape[2]) & (y >= 0) & (y < shape[1])
            x, y, p, t = x[inside], y[inside], p[inside], t[inside]
            _refuse_nothing(x, where, f"in the crop {self.crop}: choose a larger one")
        steps = t * self.num_steps // self.window_us if self.bin_by == "time" else np.arange(len(x)) * self.num_steps // len(x)
        channels = ((p if shape[0] == 2 else 0) * shape[1] + y) * shape[2] + x
        if not self.counts:
            steps, channels = np.divmod(np.unique(steps * np.prod(shape) + channels), np.prod(shape))
        return Framed(steps.astype(np.uint16), channels.astype(np.uint16), late)


def check_events(events: np.ndarray, sensor: Sensor, where: str) -> None:
    """InputError, naming ``where``, unless there are events ``[n]``, all on the sensor and in order of time, which begins at 0 or later."""
    if not len(events):
        raise InputError(f"{where} holds no event: fetch it again, or delete it")
    for axis, size in zip("xy", sensor[:2], strict=True):
        lowest, highest = int(events[axis].min()), int(events[axis].max())
        if lowest < 0 or highest >= size:
            raise InputError(
                f"{where} has an event at {axis} = {highest if highest >= size else lowest}, the sensor ends at {size - 1}: fetch it again"
            )
    back = np.flatnonzero(np.diff(events["t"]) < 0)
    if len(back):
        before, after = events["t"][back[0] : back[0] + 2]
        raise InputError(f"{where} goes back in time, from {before} to {after} µs at event {back[0] + 1}: fetch it again")
    if events["t"][0] < 0:
        raise InputError(f"{where} begins at {events['t'][0]} µs, before time 0: fetch it again")


def _refuse_nothing(events: np.ndarray, where: str, reason: str) -> None:
    if not len(events):
        raise InputError(f"{where} has no event left {reason}")
