"""What a learning network is shown, in which order, and when its weights are written: the same for simulator and Lava.

A plan is a stream of samples of three kinds. From LEARN samples the network learns, ``batch_size`` of them a write. WATCH samples
it only decides. A run of JUDGE samples, the same held-out ones every time, decides whether what was learned stays: where a score is
further below the best one than chance (a standard error) makes likely, weights and accumulators go back to the last that was not, and
those are kept at the end. Without rollback the best ones are.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.integer_network import IntegerNetwork, check_whole
from polystep_snn.hardware.learning_rule import Learner

LEARN, WATCH, JUDGE = range(3)


@dataclass(frozen=True)
class Plan:
    """A stream.

    Attributes:
        samples: ``[S]`` which sample is shown.
        labels: ``[S]`` their classes; of WATCH samples anything.
        kinds: ``[S]`` LEARN, WATCH or JUDGE.
        batch_size: LEARN samples a write.
        rollback: whether a judgement below the best one takes the weights back there.
    """

    samples: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray
    batch_size: int
    rollback: bool = True

    def __post_init__(self):
        if not len(self.samples) == len(self.labels) == len(self.kinds):
            raise InputError(f"{len(self.samples)} samples, {len(self.labels)} labels and {len(self.kinds)} kinds: give as many of each")
        if self.labels.dtype.kind not in "iu":
            raise InputError(f"labels are {self.labels.dtype}: give integers")
        if self.num_updates < 1:
            raise InputError(
                f"the stream has {int((self.kinds == LEARN).sum())} samples to learn from, less than a batch of {self.batch_size}"
            )

    @property
    def num_updates(self) -> int:
        """Batches in the stream; an incomplete one at the end is not written."""
        return int((self.kinds == LEARN).sum()) // self.batch_size

    def segments(self) -> Iterator[slice]:
        """Stretches of one kind, after which something may happen: a full batch, or the end of its kind."""
        start = learned = 0
        for position, kind in enumerate(self.kinds):
            learned += kind == LEARN
            full = kind == LEARN and learned % self.batch_size == 0
            if full or position + 1 == len(self.kinds) or self.kinds[position + 1] != kind:
                yield slice(start, position + 1)
                start = position + 1


class Lesson:
    """A plan being carried out.

    Attributes:
        learner: what learns.
        plan: what it is shown.
        decisions: ``[S]`` int16, what it took each sample for when it was shown; -1 before.
        scores: of every judgement, fractions of JUDGE samples that were right.
        rollbacks: how many of them took the weights back.
        checksum: of weights, biases and accumulators after every time they changed: lessons that agree in it learned the same throughout.

    Raises:
        InputError: batches of two sizes; a sample to learn from, or to judge by, without a label that is a class.
    """

    def __init__(self, learner: Learner, plan: Plan):
        if plan.batch_size != learner.rule.batch_size:
            raise InputError(f"batches are {plan.batch_size} in the plan and {learner.rule.batch_size} in the rule: give one size")
        known, num_classes = plan.labels[plan.kinds != WATCH], len(learner.network.classes)
        wrong = known[(known < 0) | (known >= num_classes)]
        if wrong.size:
            raise InputError(f"a label is {wrong[0]}, but the network has {num_classes} classes: give 0 to {num_classes - 1}")
        self.learner, self.plan = learner, plan
        self.decisions = np.full(len(plan.samples), -1, np.int16)
        self.scores: list[float] = []
        self.rollbacks = self.checksum = 0
        self._best: dict[str, np.ndarray] | None = None
        self._best_score = -1.0
        self._segments = plan.segments()
        self._segment = next(self._segments)
        self._position = self._learned = 0

    @property
    def position(self) -> int:
        """Samples shown so far."""
        return self._position

    @property
    def left(self) -> int:
        """Samples left of this segment, after which weights may change; 0 at the end of the plan."""
        return self._segment.stop - self._position

    def check_new(self) -> None:
        """InputError once it has begun."""
        if self._position:
            raise InputError(f"the lesson has shown {self._position} samples already: make another one")

    def show(self, inputs: np.ndarray, counts: np.ndarray) -> bool:
        """The next samples of the plan, no more than are left of their segment.

        Args:
            inputs, counts: as ``Learner.observe`` takes them.

        Returns:
            Whether weights are other ones now, so that they have to be written.
        """
        part = slice(self._position, self._position + len(inputs))
        assert 0 < len(inputs) <= self.left
        kind = self.plan.kinds[part.start]
        self.decisions[part] = self.learner.observe(inputs, counts, self.plan.labels[part], kind == LEARN)
        self._position = part.stop
        if part.stop < self._segment.stop:
            return False
        segment, self._segment = self._segment, next(self._segments, self._segment)
        changed = False
        if kind == LEARN:
            # Not counted by the learner: what a rollback has made it forget stays in the plan.
            self._learned += segment.stop - segment.start
            if changed := self._learned % self.plan.batch_size == 0:
                self.learner.update()
        if kind == JUDGE:
            changed = self._judge(segment)
        if part.stop == len(self.plan.samples):
            self.learner.forget()
            if self._best is not None:
                self.learner.restore(self._best)
                changed = True
        if changed:
            for values in self.learner.snapshot().values():
                self.checksum = zlib.crc32(values.data, self.checksum)
        return changed

    def conclude(self, decisions: np.ndarray, rollbacks: int, checksum: int) -> None:
        """Take over what another lesson on the same plan came to; the learner's state comes apart from it."""
        self.decisions[...] = decisions
        self.rollbacks, self.checksum = rollbacks, checksum
        *_, self._segment = segments = list(self.plan.segments())
        self.scores = [self._score(segment) for segment in segments if self.plan.kinds[segment.start] == JUDGE]
        self._position = self._segment.stop

    def _score(self, segment: slice) -> float:
        return float((self.decisions[segment] == self.plan.labels[segment]).mean())

    def _judge(self, segment: slice) -> bool:
        score = self._score(segment)
        self.scores.append(score)
        best, size = self._best_score, segment.stop - segment.start
        chance = np.sqrt(best * (1 - best) / size) if self.plan.rollback and best > 0 else 0.0
        if score >= best - chance:
            self._best_score, self._best = max(score, best), self.learner.snapshot()
            return False
        if not self.plan.rollback:
            return False
        assert self._best is not None
        self.learner.restore(self._best)
        self.rollbacks += 1
        return True


def check_lesson(lesson: Lesson, network: IntegerNetwork, every: int) -> None:
    """InputError unless a lesson is new and on this network, and can be saved every so many updates."""
    lesson.check_new()
    if lesson.learner.network is not network:
        raise InputError("the lesson is on another network than the backend runs: open a backend for the lesson's")
    check_whole("every", every, 1, 2**31 - 1)
