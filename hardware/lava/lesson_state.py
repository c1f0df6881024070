"""What a lesson has come to so far, in memory that Lava's processes share with the worker."""

import numpy as np

from polystep_snn.hardware.lava.execution import shared
from polystep_snn.hardware.lesson import Lesson


class LessonState:
    """Written by the learner's process, read by the worker's.

    Attributes:
        arrays: of a lesson that has ended: ``Learner.snapshot``'s, ``decisions`` [S] int32, and ``counters`` [3] int32: updates, rollbacks
            and checksum.
    """

    def __init__(self, lesson: Lesson, every: int):
        """
        Args:
            lesson: before it begins.
            every: updates between two sets of parameters to be saved.
        """
        learner = lesson.learner
        self.arrays = {name: shared(values.shape, np.int32) for name, values in learner.snapshot().items()}
        self.arrays |= {"decisions": shared(lesson.decisions.shape, np.int32), "counters": shared((3,), np.int32)}
        # Parameters in turns: while one set is read, the next one is written elsewhere.
        self._sets = [{name: shared(learner.parameters[name].shape, np.int32) for name in learner.names} for _ in range(2)]
        self._num_sets = shared((1,), np.int64)
        self._every, self._last = every, learner.updates // every
        self._taken = 0

    def put(self, lesson: Lesson) -> None:
        """Where the lesson is now."""
        learner = lesson.learner
        if learner.updates // self._every != self._last:
            self._last = learner.updates // self._every
            number = int(self._num_sets[0]) + 1
            for name, values in self._sets[number % 2].items():
                values[...] = learner.parameters[name]
            self._num_sets[0] = number
        if not lesson.left:
            for name, values in learner.snapshot().items():
                self.arrays[name][...] = values
            self.arrays["decisions"][...] = lesson.decisions
            self.arrays["counters"][...] = np.array([learner.updates, lesson.rollbacks, lesson.checksum], np.uint32).view(np.int32)

    def take(self) -> dict[str, np.ndarray] | None:
        """The latest parameters to be saved, once; None where there are none since the last time."""
        number = int(self._num_sets[0])
        if number == self._taken:
            return None
        parameters = {name: values.copy() for name, values in self._sets[number % 2].items()}
        if self._num_sets[0] != number:
            return None  # they may have been overwritten meanwhile: next time
        self._taken = number
        return parameters
