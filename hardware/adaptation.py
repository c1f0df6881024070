"""Streams to learn from in the field: what comes in shifted, what is replayed, and what judges.

A stream goes by in rounds. A round shows ``round_size`` new samples, some of them labelled, mixed with replayed clean ones, and ends
with the held-out samples, which decide whether it is kept. One judgement stands before the first round: what a network has never
improved on is given back.
"""

import dataclasses
import math
import reprlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.lesson import JUDGE, LEARN, WATCH, Lesson, Plan

# Few labelled samples are shown this often; and where maps have brought back most of what was lost, at this share of the rates.
_FEW_PASSES, _GENTLER = 20, 1 / 16
# Weights of an untrained network: the int8 grid leaves eightfold room to grow.
_INITIAL = 16


@dataclass(frozen=True)
class Stream:
    """How a stream is put together.

    Attributes:
        samples: new ones in all, those that judge not counted.
        replay: clean samples shown for every new one.
        labelled: fraction of the new samples whose labels are known; from the others nothing is learned.
        held_out: samples that judge; 0 for no judgement, so that the last weights stay.
        round_size: new samples between two judgements.
        seed: of the order.
    """

    samples: int = 5000
    replay: float = 0.0
    labelled: float = 1.0
    held_out: int = 500
    round_size: int = 1000
    seed: int = 0

    def __post_init__(self):
        for name, least in (("samples", 1), ("held_out", 0), ("round_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} is {reprlib.repr(value)}: choose a whole number, at least {least}")
        if not isinstance(self.replay, int | float) or not 0 <= self.replay <= 10:
            raise InputError(f"replay is {reprlib.repr(self.replay)}: choose from 0 to 10 clean samples for a new one")
        if not isinstance(self.labelled, int | float) or not 0 < self.labelled <= 1:
            raise InputError(f"labelled is {reprlib.repr(self.labelled)}, but learning needs labels: choose a fraction above 0, 1 at most")

    @classmethod
    def fitting(cls, num_train: int, num_judges: int, replay: float, **given: Any) -> "Stream":
        """A stream for so many samples to learn from and to judge with.

        What is not given is the default, or what there is if that is less; rounds are a fifth of the stream.

        Args:
            num_train: samples that may be new; at least 1.
            num_judges: samples that may judge, shifted and clean ones together.
            replay, given: as of ``Stream``; None for what is not given.
        """
        given = {name: value for name, value in given.items() if value is not None}
        stream = cls(**{"samples": max(1, min(cls.samples, num_train)), **given}, replay=replay)
        if "round_size" not in given:
            stream = dataclasses.replace(stream, round_size=max(1, stream.samples // 5))
        if "held_out" not in given:
            # Of h samples that judge h r / (1 + r) are clean, and come after the first h.
            most = int(num_judges * (1 + replay) / (1 + 2 * replay))
            stream = dataclasses.replace(stream, held_out=min(cls.held_out, most))
        return stream


class Images(NamedTuple):
    """Images ``[n, height, width]``, float32 intensities in [0, 1], and their labels ``[n]``, integers."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> "Images":
        """Only the first ``count``."""
        return Images(self.images[:count], self.labels[:count])


class SpikeTrains(NamedTuple):
    """Spikes ``packed: [T, n, ceil(M / 8)]``, eight to a byte, of M channels, and classes ``[n]``, integers."""

    packed: np.ndarray
    labels: np.ndarray
    num_channels: int

    @classmethod
    def of(cls, spikes: np.ndarray, labels: np.ndarray) -> "SpikeTrains":
        """Of ``[T, n, M]``, zeros and ones."""
        return cls(np.packbits(spikes, axis=-1), labels, spikes.shape[-1])

    def first(self, count: int) -> "SpikeTrains":
        """Only the first ``count``."""
        return SpikeTrains(self.packed[:, :count], self.labels[:count], self.num_channels)

    def spikes(self, numbers: np.ndarray) -> np.ndarray:
        """``[T, B, M]`` uint8, of some samples."""
        return np.unpackbits(self.packed[:, numbers], axis=-1, count=self.num_channels)


class Pool:
    """Samples by number; images are encoded when they are shown.

    Args:
        network: whose encoder and number of steps.
        parts: one after the other, all images or all spike trains; any may be empty.

    Raises:
        InputError: samples of another size or length, not one label each, labels that are no integers.
    """

    def __init__(self, network: IntegerNetwork, *parts: Images | SpikeTrains):
        self._network = network
        self.labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
        self._trains: SpikeTrains | None = None
        trains = [part for part in parts if isinstance(part, SpikeTrains)]
        if trains:
            for part in trains:
                if part.num_channels != math.prod(network.input_shape) or len(part.packed) != network.num_steps:
                    raise InputError(
                        f"the network takes {network.num_steps} steps of {list(network.input_shape)}, these are {len(part.packed)} steps "
                        f"of {part.num_channels} channels: choose its own data"
                    )
            self._trains = SpikeTrains(np.concatenate([part.packed for part in trains], 1), self.labels, trains[0].num_channels)
            return
        images_of = [part for part in parts if isinstance(part, Images)]
        for images, labels in images_of:
            size = math.prod(images.shape[1:])
            if size != math.prod(network.input_shape):
                raise InputError(f"the network takes samples of {list(network.input_shape)}, these have {size} values: choose its own data")
            if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
                raise InputError(f"labels are {labels.dtype} {list(labels.shape)} for {len(images)} images: give one integer an image")
        self.images = np.concatenate([part.images.reshape(len(part.images), math.prod(network.input_shape)) for part in images_of])

    def spikes(self, numbers: np.ndarray) -> np.ndarray:
        """``[T, B, M]`` uint8."""
        if self._trains is not None:
            return self._trains.spikes(numbers)
        return encode(self._network.encoder, self._network.num_steps, self.images[numbers], self._network.input_neurons)


def field_lesson(
    network: IntegerNetwork,
    rule: LearningRule,
    stream: Stream,
    new: Images | SpikeTrains,
    clean: Images | SpikeTrains,
    held_out: Images | SpikeTrains,
    clean_held_out: Images | SpikeTrains,
) -> tuple[Lesson, Pool]:
    """A lesson on a shifted stream.

    Args:
        network: what learns; ``rule`` says how, ``stream`` from how much.
        new: at least ``samples`` shifted ones.
        clean: at least one, if any are replayed.
        held_out: shifted ones that judge; clean ones judge beside them in the proportion of the replay.

    Raises:
        InputError: fewer samples than the stream needs, or fewer labels than a batch; what ``Pool`` and ``Lesson`` refuse.
    """
    if len(new.labels) < stream.samples:
        raise InputError(f"samples is {stream.samples}, but the stream has {len(new.labels)}: choose fewer")
    if len(held_out.labels) < stream.held_out:
        raise InputError(f"held_out is {stream.held_out}, but only {len(held_out.labels)} samples are there to judge: choose fewer")
    num_clean = round(stream.held_out * stream.replay / (1 + stream.replay))
    if len(clean_held_out.labels) < num_clean:
        raise InputError(
            f"held_out is {stream.held_out}, of which a replay of {stream.replay:g} makes {num_clean} clean ones, but only "
            f"{len(clean_held_out.labels)} are there to judge: choose fewer"
        )
    if stream.replay and not len(clean.labels):
        raise InputError(f"replay is {stream.replay:g}, but there are no clean samples: give some, or choose 0")
    generator = np.random.default_rng(stream.seed)
    pool = Pool(network, new, clean, held_out, clean_held_out)
    starts = np.cumsum([0, len(new.labels), len(clean.labels), len(held_out.labels)])
    judges = np.concatenate([starts[2] + np.arange(stream.held_out - num_clean), starts[3] + np.arange(num_clean)])
    labelled = generator.random(stream.samples) < stream.labelled
    samples, kinds = [judges], [np.full(len(judges), JUDGE)]
    for start in range(0, stream.samples, stream.round_size):
        shown = np.arange(start, min(start + stream.round_size, stream.samples))
        replayed = starts[1] + generator.integers(max(1, len(clean.labels)), size=round(stream.replay * len(shown)))
        order = generator.permutation(len(shown) + len(replayed))
        kind = np.concatenate([np.where(labelled[shown], LEARN, WATCH), np.full(len(replayed), LEARN)])
        samples += [np.concatenate([shown, replayed])[order], judges]
        kinds += [kind[order], np.full(len(judges), JUDGE)]
    numbers = np.concatenate(samples)
    plan = Plan(numbers, pool.labels[numbers], np.concatenate(kinds), rule.batch_size)
    return Lesson(Learner(network, rule, plan.num_updates), plan), pool


def training_lesson(
    network: IntegerNetwork,
    rule: LearningRule,
    train: Images | SpikeTrains,
    validation: Images | SpikeTrains,
    epochs: int,
    seed: int,
) -> tuple[Lesson, Pool]:
    """A lesson from nothing: ``epochs`` passes over the training set, each judged by the validation set; the best weights stay.

    ``rule`` says how the network learns, ``seed`` decides the order.
    """
    generator = np.random.default_rng(seed)
    pool = Pool(network, train, validation)
    judges = len(train.labels) + np.arange(len(validation.labels))
    samples, kinds = [], []
    for _ in range(epochs):
        samples += [generator.permutation(len(train.labels)), judges]
        kinds += [np.full(len(train.labels), LEARN), np.full(len(judges), JUDGE)]
    numbers = np.concatenate(samples)
    plan = Plan(numbers, pool.labels[numbers], np.concatenate(kinds), rule.batch_size, rollback=False)
    return Lesson(Learner(network, rule, plan.num_updates), plan), pool


def few_labels_lesson(
    network: IntegerNetwork, rule: LearningRule, labelled: Images | SpikeTrains, acted: bool, seed: int, passes: int = _FEW_PASSES
) -> tuple[Lesson, Pool]:
    """A lesson from a few labelled samples, shown several times, after a network has adapted without labels or has not.

    Or from a whole stream that has labelled itself, shown once (``self_labels.py``).

    Args:
        network: as it is now.
        rule: its rates are those of a network that has not adapted; one that has keeps what it has with smaller ones.
        labelled: at least a batch.
        acted: whether it has adapted.
        seed: of the order.
        passes: how often they are shown.
    """
    if acted:
        rule = dataclasses.replace(rule, rate=rule.rate * _GENTLER, readout_rate=rule.readout_rate * _GENTLER)
    nobody = labelled.first(0)
    return training_lesson(network, rule, labelled, nobody, passes, seed)


def random_network(
    sizes: tuple[int, int, int],
    num_steps: int,
    encoder: str,
    input_shape: tuple[int, ...],
    classes: tuple[str, ...],
    dv: int = 205,
    seed: int = 0,
) -> IntegerNetwork:
    """An untrained network of int8 weights that learns on the chip: uniform in plus or minus 16, which leaves eightfold room to grow.

    The latent unit is that of a network with weights in plus or minus ``1 / sqrt(fan-in)`` and a threshold of 1.

    Args:
        sizes: inputs, hidden neurons, classes.
        num_steps: T.
        encoder: "rate" or "latency".
        input_shape: of a sample, before it is encoded.
        classes: their names.
        dv: decay of the hidden membranes, in 4096ths.
        seed: of the weights.
    """
    generator = np.random.default_rng(seed)

    def layer(num_neurons: int, num_inputs: int, integrates: bool) -> IntegerLayer:
        scale = num_inputs**-0.5 / _INITIAL
        weight = generator.integers(-_INITIAL, _INITIAL + 1, (num_neurons, num_inputs)).astype(np.int8)
        vth = np.full(num_neurons, 2**17 - 1 if integrates else round(1 / scale), np.int32)
        return IntegerLayer(weight, vth, np.zeros(num_neurons, np.int16), 6, 4095, 0 if integrates else dv, scale)

    layers = (layer(sizes[1], sizes[0], False), layer(sizes[2], sizes[1], True))
    return IntegerNetwork(layers, "membrane", num_steps, encoder, input_shape, classes, {"trained_in": "nothing yet"})
