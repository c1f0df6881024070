"""A lesson on the simulator: the forward pass of a network whose hidden neurons stand beside their bias-shifted copies."""

from collections.abc import Callable

import numpy as np

from polystep_snn.hardware.fixed_point import ALIGNMENT, CubaRegisters
from polystep_snn.hardware.lesson import Lesson
from polystep_snn.hardware.simulator import check_spikes

# Samples at a time: their registers shall stay in the processor's cache.
_CHUNK = 64


def learn(lesson: Lesson, spikes: Callable[[np.ndarray], np.ndarray], on_samples: Callable[[int], None] = lambda count: None) -> None:
    """Carry out a lesson.

    Args:
        lesson: changed in place.
        spikes: the spikes ``[T, B, M]`` uint8 of samples ``[B]``, by number.
        on_samples: called with the number of samples shown so far.

    Raises:
        InputError: the lesson has begun before; spikes of another form; a readout that left its register.
    """
    lesson.check_new()
    plan, passes = lesson.plan, _Forward(lesson)
    for segment in plan.segments():
        for start in range(segment.start, segment.stop, _CHUNK):
            part = slice(start, min(start + _CHUNK, segment.stop))
            shown = spikes(plan.samples[part])
            check_spikes(shown, lesson.learner.network)
            if lesson.show(*passes(shown)):
                passes.read_weights()
        on_samples(lesson.position)


class _Forward:
    def __init__(self, lesson: Lesson):
        self.learner = lesson.learner
        self.layers = self.learner.network.layers[:-1]
        self.weights: list[np.ndarray] = [layer.weight.T.astype(np.float32) for layer in self.layers]
        self.read_weights()

    def read_weights(self) -> None:
        """What the learner has written."""
        if "hidden" in self.learner.names:
            self.weights[-1] = self.learner.parameters["hidden"].T.astype(np.float32)
        self.biases = self.learner.copied_biases << self.layers[-1].bias_exp

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``inputs`` and ``counts`` of samples, as ``Learner.observe`` takes them."""
        for k, layer in enumerate(self.layers[:-1]):
            z = self._run(k, z, layer.bias[None])[1][:, 0]
        counts, _ = self._run(len(self.layers) - 1, z, self.biases, keep=False)
        return z.sum(0, dtype=np.int32), counts

    def _run(self, k: int, z: np.ndarray, biases: np.ndarray, keep: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Counts ``[K, B, N]`` and, where kept, spikes ``[T, K, B, N]`` of a layer and its copies, with biases ``[K, N]``."""
        layer, (num_steps, num_samples, width) = self.layers[k], z.shape
        # Small integers of at most as many inputs as the learner takes: float32 sums are exact.
        drive = z.reshape(-1, width).astype(np.float32) @ self.weights[k]
        drive = drive.reshape(num_steps, num_samples, -1).astype(np.int32) << ALIGNMENT
        registers = CubaRegisters((len(biases), num_samples, drive.shape[-1]), layer.du, layer.dv, layer.vth, biases[:, None])
        counts = np.zeros(registers.v.shape, np.int32)
        spikes = np.empty((num_steps if keep else 0, *registers.v.shape), np.bool_)
        for t in range(num_steps):
            registers.step(drive[t])
            counts += registers.z
            if keep:
                spikes[t] = registers.z
        return counts, spikes
