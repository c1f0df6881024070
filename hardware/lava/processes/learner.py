"""The Process that learns: knows the labels, collects counts, and writes weights and biases while the graph runs."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from polystep_snn.hardware.lava.lesson_state import LessonState
from polystep_snn.hardware.lesson import Lesson

# Samples that the rule takes at a time.
_CHUNK = 64


class LearnerProcess(AbstractProcess):
    """Carries out a lesson.

    When a sample's counts have arrived, so has the last input that they answer to: what is written then acts on the next sample. The
    readout's membrane is complete one step later. It is held against what the learner makes of the counts, and the readout's bias,
    which acts on it up to then, is written behind it.

    Args:
        lesson: with its labels. Changed in the process that Lava makes; ``state`` shows it.
        state: shared memory to be filled.
        num_copies: K, 3, or 1 where nothing before the readout is writable.
        first_step: the time step at which the first sample's counts arrive.
        period: of a sample.
        clock: ``[1]`` int64, shared memory that holds the time step.
    """

    def __init__(self, *, lesson: Lesson, state: LessonState, num_copies: int, first_step: int, period: int, clock: np.ndarray, name: str):
        super().__init__(lesson=lesson, state=state, num_copies=num_copies, first_step=first_step, period=period, clock=clock, name=name)
        parameters = lesson.learner.parameters
        num_neurons, num_inputs = parameters["hidden"].shape
        num_classes = len(parameters["readout"])
        self.inputs_in = InPort(shape=(1, num_inputs))
        self.counts_in = InPort(shape=(num_copies, num_neurons))
        self.values_in = InPort(shape=(num_classes,))
        self.hidden = RefPort(shape=(num_neurons, num_inputs))
        self.hidden_bias = RefPort(shape=(num_copies, num_neurons))
        self.readout = RefPort(shape=(num_classes, num_neurons))
        self.readout_bias = RefPort(shape=(1, num_classes))


@implements(proc=LearnerProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLearner(PyLoihiProcessModel):
    inputs_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    counts_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    values_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    # Of int32, as what they refer to has to stay.
    hidden: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    hidden_bias: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    readout: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    readout_bias: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._lesson, self._state, self._clock = (proc_params[name] for name in ("lesson", "state", "clock"))
        self._first_step, self._period = proc_params["first_step"], proc_params["period"]
        learner = self._lesson.learner
        num_copies, (num_neurons, num_inputs) = proc_params["num_copies"], learner.parameters["hidden"].shape
        self._inputs = np.empty((_CHUNK, num_inputs), np.int32)
        self._counts = np.empty((num_copies, _CHUNK, num_neurons), np.int32)
        self._held = 0
        self._expected = np.empty(0, np.int32)
        # What is written at the end of this step, and of the next one.
        self._now: dict[str, np.ndarray] = {}
        self._next: dict[str, np.ndarray] = {}

    def run_spk(self) -> None:
        self._now, self._next = self._next, {}
        since, num_samples = self.time_step - self._first_step, len(self._lesson.plan.samples)
        if 0 < since <= num_samples * self._period and (since - 1) % self._period == 0:
            self._compare((since - 1) // self._period)
        if 0 <= since < num_samples * self._period and since % self._period == 0:
            self._take()
        self._clock[0] = self.time_step

    def post_guard(self) -> bool:
        return bool(self._now)

    def run_post_mgmt(self) -> None:
        for name, values in self._now.items():
            getattr(self, name).write(values)
        # Without this some would be there a step later, by chance.
        for name in self._now:
            getattr(self, name).wait()

    def _take(self) -> None:
        """The counts of a sample."""
        lesson = self._lesson
        self._inputs[self._held] = self.inputs_in.recv()[0]
        self._counts[:, self._held] = self.counts_in.recv()
        self._expected = lesson.learner.membranes(self._counts[0, self._held, None])[:, 0]
        self._held += 1
        if self._held < min(_CHUNK, lesson.left):
            return
        changed = lesson.show(self._inputs[: self._held], self._counts[:, : self._held])
        self._held = 0
        self._state.put(lesson)
        if changed:
            self._write()

    def _write(self) -> None:
        learner = self._lesson.learner
        for name in learner.names:
            values = learner.parameters[name]
            if name == "hidden_bias":
                self._now[name] = learner.copied_biases[: len(self._counts)]
            elif name == "readout_bias":
                self._next[name] = values[None].copy()
            else:
                self._now[name] = 2 * values  # as every Dense here holds them

    def _compare(self, sample: int) -> None:
        found = self.values_in.recv()
        if not np.array_equal(found, self._expected):
            raise ValueError(f"the readout's membranes after sample {sample} are {found.tolist()} instead of {self._expected.tolist()}")
