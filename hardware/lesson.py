"""What a learning network is shown, in which order, and when its weights are written: the same for simulator and Lava.

A plan is a stream of samples of three kinds. From LEARN samples the network learns, ``batch_size`` of them a write. WATCH samples
it only decides. A run of JUDGE samples, the same held-out ones every time, decides whether what was learned stays: a score below
the best one can take weights and accumulators back to where that was reached. The best weights are kept at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.learning_rule import Learner

LEARN, WATCH, JUDGE = range(3)


@dataclass(frozen=True)
class Plan:
    """A stream.

    Attributes:
        samples: ``[S]`` which sample is shown.
        labels: ``[S]`` their classes.
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
    """

    def __init__(self, learner: Learner, plan: Plan):
        self.learner, self.plan = learner, plan
        self.decisions = np.full(len(plan.samples), -1, np.int16)
        self.scores: list[float] = []
        self.rollbacks = 0
        self._best: dict[str, np.ndarray] | None = None
        self._best_score = -1.0
        self._segments = plan.segments()
        self._segment = next(self._segments)
        self._position = 0

    @property
    def position(self) -> int:
        """Samples shown so far."""
        return self._position

    def show(self, inputs: np.ndarray, counts: np.ndarray) -> bool:
        """The next samples of the plan, no more than are left of their segment.

        Args:
            inputs, counts: as ``Learner.observe`` takes them.

        Returns:
            Whether weights are other ones now, so that they have to be written.
        """
        part = slice(self._position, self._position + len(inputs))
        assert part.stop <= self._segment.stop
        kind = self.plan.kinds[part.start]
        self.decisions[part] = self.learner.observe(inputs, counts, self.plan.labels[part], kind == LEARN)
        self._position = part.stop
        if part.stop < self._segment.stop:
            return False
        segment, self._segment = self._segment, next(self._segments, self._segment)
        changed = False
        if self.learner.batch_is_full:
            self.learner.update()
            changed = True
        if kind == JUDGE:
            changed = self._judge(segment)
        if part.stop == len(self.plan.samples) and self._best is not None:
            self.learner.restore(self._best)
            changed = True
        return changed

    def _judge(self, segment: slice) -> bool:
        score = float((self.decisions[segment] == self.plan.labels[segment]).mean())
        self.scores.append(score)
        if score >= self._best_score:
            self._best_score, self._best = score, self.learner.snapshot()
            return False
        if not self.plan.rollback:
            return False
        assert self._best is not None
        self.learner.restore(self._best)
        self.rollbacks += 1
        return True
