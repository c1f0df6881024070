"""What a run sees: the data set, and how its samples become timesteps. Plain values; they check themselves."""

from dataclasses import dataclass

from polystep_snn.datasets import NAMES, event_set
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.image_augment import ImageAugmentation
from polystep_snn.datasets.own.describe import KINDS as KINDS_OF_OWN
from polystep_snn.datasets.own.split import VALIDATION_SHARE
from polystep_snn.datasets.sequence_augment import SequenceAugmentation
from polystep_snn.datasets.speech_features import KINDS, SpeechFeatures
from polystep_snn.errors import InputError
from polystep_snn.options import COUNT, LARGEST_COUNT, SHARE, Options, option, up_to

ENCODERS = ("direct", "rate", "poisson", "latency", "population", "rows")
# In place of an encoder: recordings are spikes already, sequences are currents or spikes.
EVENTS, SEQUENCE = "events", "sequence"
BINNINGS = ("time", "count")
# Whose sensors are known.
EVENT_SETS = ("nmnist", "shd", "dvsgesture")
SPEECH_SETS = ("spoken-digits",)
# Of the images of known sets.
_NUM_PIXELS = {"digits": 64, "mnist": 784, "fashion-mnist": 784}

FRAMING_OPTIONS = ("window_us", "bin_by", "denoise_us", "stabilize", "crop", "polarity", "counts")
IMAGE_AUGMENTATION_OPTIONS = ("shift", "flip_lr")
AUGMENTATION_OPTIONS = (*IMAGE_AUGMENTATION_OPTIONS, "jitter", "time_jitter", "drop")
EVENT_OPTIONS = FRAMING_OPTIONS + AUGMENTATION_OPTIONS
SPEECH_OPTIONS = ("features", "bands", "step_ms", "speaker")
SEQUENCE_AUGMENTATION_OPTIONS = ("time_shift", "stretch", "pitch")
SEQUENCE_OPTIONS = SPEECH_OPTIONS + SEQUENCE_AUGMENTATION_OPTIONS


@dataclass(frozen=True)
class DataConfig(Options):
    """The samples of a run, those of ``dataset``, and how they become timesteps."""

    dataset: str
    num_steps: int = option(15, "timesteps a sample", range=COUNT)
    blank_steps: int = option(0, "steps without input behind them, in which spikes on their way arrive", range=up_to(LARGEST_COUNT))
    encoder: str = option(
        "direct", "from pixels to currents or spikes; events and sequences are taken as they are", (*ENCODERS, EVENTS, SEQUENCE)
    )
    window_us: int = option(315_000, "events from this time on are dropped, in µs; 105000 keeps the first of N-MNIST's three saccades")
    bin_by: str = option("time", "steps of equal duration, or of equally many events", BINNINGS)
    denoise_us: int = option(0, "drop an event without one beside it in so many µs before; 0 keeps all")
    stabilize: bool = option(False, "undo the motion of N-MNIST's saccades")
    crop: tuple[int, ...] = option((), "left, top, width and height of the part of the sensor that is kept, in pixels; by default all")
    polarity: bool = option(True, "ON and OFF events are inputs of their own")
    counts: bool = option(False, "inputs are numbers of events instead of 0 and 1")
    shift: int = option(0, "training images and recordings are moved at random by up to so many pixels")
    flip_lr: float = option(0.0, "and mirrored, left and right, with this probability")
    jitter: float = option(0.0, "every event of recordings is moved at random, standard deviation in pixels")
    time_jitter: float = option(0.0, "and in time, standard deviation in steps")
    drop: float = option(0.0, "and dropped with this probability")
    kind: str = option("", "of data of one's own: what it is taken for; by default its path tells", ("", *KINDS_OF_OWN))
    validation_share: float = option(
        VALIDATION_SHARE, "of data of one's own without a validation part: how much of the training part becomes one", range=SHARE
    )
    features: str = option("energies", "of speech: energies of bands as currents, or ON and OFF events of their changes", KINDS)
    bands: int = option(32, "of speech: frequency bands")
    step_ms: float = option(20.0, "of speech: length of a step, at most 32 ms")
    speaker: str = option("", "of speech: whose recordings are the test part, instead of the published one")
    time_shift: int = option(0, "training sequences begin earlier or later, at random, by up to so many steps")
    stretch: float = option(0.0, "and are faster or slower by a factor of up to 1 and so much")
    pitch: int = option(0, "and higher or lower by up to so many bands")

    def __post_init__(self):
        super().__post_init__()
        self._check_encoder()
        if self.dataset in NAMES and self.changed(("validation_share",)):
            raise InputError(f"validation_share is {self.validation_share:g}, but {self.dataset} has parts of its own: leave it out")
        pixels = _NUM_PIXELS.get(self.dataset, self.num_steps)
        if self.encoder == "rows" and pixels % self.num_steps:
            raise InputError(
                f"num_steps is {self.num_steps}, but the encoder 'rows' reads the {pixels} pixels of {self.dataset} in steps of equally "
                "many: choose the number of rows, or another one that divides the pixels"
            )
        if self.holds_sequences:
            name = None if self.holds_speech else self.changed(SPEECH_OPTIONS)
            if self.holds_speech and self.kind:
                name = self.changed(("speaker",))
            if name:
                raise InputError(f"{name} is {getattr(self, name)!r}, but {self.dataset} holds no speech: leave it out")

    @property
    def total_steps(self) -> int:
        """Timesteps that the network runs for: a sample's, and blank ones."""
        return self.num_steps + self.blank_steps

    def _check_encoder(self) -> None:
        """InputError for an encoder that does not go with the data set, or an option that does not go with the encoder."""
        if self.holds_speech and not self.holds_sequences:
            raise InputError(f"encoder is {self.encoder!r}, but {self.dataset} holds sequences: choose {SEQUENCE!r}")
        name = None if self.holds_sequences else self.changed(SEQUENCE_OPTIONS)
        if name:
            raise InputError(
                f"{name} is {getattr(self, name)!r}, but the encoder {self.encoder!r} takes no sequences: leave it out, or choose the "
                f"encoder {SEQUENCE!r}"
            )
        if self.holds_sequences:
            # Events of speech are counted, or not, as those of a camera.
            name = self.changed(tuple(name for name in EVENT_OPTIONS if name != "counts"))
            if name:
                raise InputError(f"{name} is {getattr(self, name)}, but sequences are not framed: leave it out")
            return
        name = None if self.holds_events else self.changed(tuple(n for n in EVENT_OPTIONS if n not in IMAGE_AUGMENTATION_OPTIONS))
        if name:
            raise InputError(
                f"{name} is {getattr(self, name)}, but the encoder {self.encoder!r} is for images, which have no events: leave it out, or "
                f"choose the encoder {EVENTS!r}"
            )

    def check_recordings(self) -> None:
        """InputError for a framing, features or an augmentation that cannot be: before any recording is looked for."""
        if self.holds_sequences:
            self.sequence_augmentation()
            self.speech_features()
        if not self.holds_events:
            self.image_augmentation()
        else:
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
        """What may happen to the recordings that it learns from; ``seed`` is the run's."""
        return Augmentation(**{name: getattr(self, name) for name in AUGMENTATION_OPTIONS}, seed=seed)

    def image_augmentation(self, seed: int = 0) -> ImageAugmentation:
        """What may happen to the images that it learns from; ``seed`` is the run's."""
        return ImageAugmentation(**{name: getattr(self, name) for name in IMAGE_AUGMENTATION_OPTIONS}, seed=seed)

    def speech_features(self) -> SpeechFeatures | None:
        """How its recordings of speech become sequences; None for other data."""
        if not self.holds_speech:
            return None
        return SpeechFeatures(self.num_steps, self.step_ms, self.bands, self.features, self.counts)

    def sequence_augmentation(self, seed: int = 0) -> SequenceAugmentation:
        """What may happen to the sequences that it learns from; ``seed`` is the run's."""
        return SequenceAugmentation(**{name: getattr(self, name) for name in SEQUENCE_AUGMENTATION_OPTIONS}, seed=seed)

    @property
    def holds_speech(self) -> bool:
        """Whether samples are recordings of sound."""
        return self.dataset in SPEECH_SETS or self.kind == "sounds"

    @property
    def holds_sequences(self) -> bool:
        """Whether samples are sequences, not images or events."""
        return self.encoder == SEQUENCE

    @property
    def gives_currents(self) -> bool:
        """Whether a network receives numbers that are no spikes; of one's own sequences only they themselves tell."""
        energies = self.holds_sequences and self.holds_speech and self.features == "energies"
        return self.encoder in ("direct", "rows") or energies

    @property
    def holds_events(self) -> bool:
        """Whether samples are recordings of events, not images."""
        return self.encoder == EVENTS
