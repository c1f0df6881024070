"""What a run sees: the data set, and how its samples become timesteps. Plain values; they check themselves."""

from dataclasses import dataclass

from polystep_snn.datasets import event_set
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.framing import Framing
from polystep_snn.errors import InputError
from polystep_snn.options import COUNT, Options, option

ENCODERS = ("direct", "rate", "poisson", "latency", "population")
# In place of an encoder: recordings are spikes already.
EVENTS = "events"
BINNINGS = ("time", "count")
# Whose sensors are known.
EVENT_SETS = ("nmnist", "shd", "dvsgesture")

FRAMING_OPTIONS = ("window_us", "bin_by", "denoise_us", "stabilize", "crop", "polarity", "counts")
AUGMENTATION_OPTIONS = ("shift", "jitter", "time_jitter", "drop")
EVENT_OPTIONS = FRAMING_OPTIONS + AUGMENTATION_OPTIONS


@dataclass(frozen=True)
class DataConfig(Options):
    """The samples of a run, and how they become timesteps."""

    dataset: str
    num_steps: int = option(15, "timesteps a sample", range=COUNT)
    encoder: str = option("direct", "from pixels to currents or spikes; events are taken as they are", (*ENCODERS, EVENTS))
    window_us: int = option(315_000, "events from this time on are dropped, in µs; 105000 keeps the first of N-MNIST's three saccades")
    bin_by: str = option("time", "steps of equal duration, or of equally many events", BINNINGS)
    denoise_us: int = option(0, "drop an event without one beside it in so many µs before; 0 keeps all")
    stabilize: bool = option(False, "undo the motion of N-MNIST's saccades")
    crop: tuple[int, ...] = option((), "left, top, width and height of the part of the sensor that is kept, in pixels; by default all")
    polarity: bool = option(True, "ON and OFF events are inputs of their own")
    counts: bool = option(False, "inputs are numbers of events instead of 0 and 1")
    shift: int = option(0, "training recordings are moved at random by up to so many pixels")
    jitter: float = option(0.0, "every event of them is moved at random, standard deviation in pixels")
    time_jitter: float = option(0.0, "and in time, standard deviation in steps")
    drop: float = option(0.0, "and dropped with this probability")

    def __post_init__(self):
        super().__post_init__()
        name = None if self.holds_events else self.changed(EVENT_OPTIONS)
        if name:
            raise InputError(
                f"{name} is {getattr(self, name)}, but the encoder {self.encoder!r} is for images, which have no events: leave it out, or "
                f"choose the encoder {EVENTS!r}"
            )

    def check_events(self) -> None:
        """InputError for a framing or an augmentation that cannot be: before any recording is looked for."""
        if self.holds_events:
            framing = self.framing()
            self.augmentation()
            if self.dataset in EVENT_SETS:
                source = event_set(self.dataset)
                source.framing(framing).shape(source.sensor)

    def framing(self) -> Framing:
        """How its events become frames."""
        options = {name: getattr(self, name) for name in FRAMING_OPTIONS}
        return Framing(self.num_steps, **{**options, "crop": self.crop or None})

    def augmentation(self, seed: int = 0) -> Augmentation:
        """What may happen to the recordings that it learns from."""
        return Augmentation(**{name: getattr(self, name) for name in AUGMENTATION_OPTIONS}, seed=seed)

    @property
    def holds_events(self) -> bool:
        """Whether samples are recordings of events, not images."""
        return self.encoder == EVENTS
