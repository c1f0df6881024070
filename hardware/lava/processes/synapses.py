"""Synapses that hold spikes on their way: Lava's own, which forget them where a new sample begins."""

from typing import Any

import numpy as np
from lava.magma.core.model.py.type import LavaPyType
from lava.proc.dense.models import PyDelayDenseModelBitAcc, PyDenseModelBitAcc
from lava.proc.dense.process import DelayDense, Dense


class RecurrentDense(Dense):
    """A ``Dense`` from a layer to itself. It sends what it summed a step before, so spikes of a step arrive in the next one.

    Args:
        num_steps: T, of a sample.
        first_step: the time step in which the layer makes its first step. In it, and every T steps later, nothing arrives.
    """

    def __init__(self, *, num_steps: int, first_step: int, **options: Any):
        super().__init__(**options)
        # Lava's own takes no others.
        self.proc_params["num_steps"], self.proc_params["first_step"] = num_steps, first_step


class PyRecurrentDense(PyDenseModelBitAcc):
    """What is computed is Lava's; this clears what the last step of a sample has left. Protocol, resources and tags are inherited."""

    implements_process: type = RecurrentDense  # the decorator refuses a model whose parent implements another Process
    a_buff: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=16)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._num_steps, self._first_step = proc_params["num_steps"], proc_params["first_step"]

    def run_spk(self) -> None:
        if (self.time_step - self._first_step) % self._num_steps == 0:
            self.a_buff = np.zeros_like(self.a_buff)
        super().run_spk()


class AxonalDelayDense(DelayDense):
    """A ``DelayDense`` with delays ``[M]``, one an input; beside these it is a step late, as a ``Dense`` is.

    Args:
        weights: ``[N, M]``.
        delays: ``[M]`` whole numbers.
        num_steps, first_step: as of a ``RecurrentDense``.
    """

    def __init__(self, *, weights: np.ndarray, delays: np.ndarray, num_steps: int, first_step: int, **options: Any):
        super().__init__(weights=weights, delays=np.broadcast_to(delays.astype(int), weights.shape).copy(), **options)
        self.proc_params["num_steps"], self.proc_params["first_step"] = num_steps, first_step


class PyAxonalDelayDense(PyDelayDenseModelBitAcc):
    """What is computed is Lava's; this clears what would arrive in another sample, and makes the matrix of weights by delay once."""

    implements_process: type = AxonalDelayDense

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._num_steps, self._first_step = proc_params["num_steps"], proc_params["first_step"]
        self._by_delay: np.ndarray | None = None

    def run_spk(self) -> None:
        # In this step the first spikes of a sample come in, and the sums for the last step of the one before, in column 0, go out.
        if (self.time_step + 1 - self._first_step) % self._num_steps == 0:
            self.a_buff[:, 1:] = 0
        super().run_spk()

    def calc_act(self, s_in: np.ndarray) -> np.ndarray:
        """``[N, longest delay + 1]`` sums, those of Lava's own, which makes the matrix anew in every step and multiplies all of it."""
        if self._by_delay is None:
            self._by_delay = self.get_delay_wgts_mat(self.weights, self.delays, self.a_buff.shape[-1] - 1)
        return self._by_delay[:, s_in].sum(axis=1).reshape(self.a_buff.shape[::-1]).T
