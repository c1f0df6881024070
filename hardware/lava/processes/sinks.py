"""What is read: a readout's value at the end of each sample, or everything that neurons do.

Results are written into arrays that the processes share with the one that started them. Lava's own way, a variable read number by
number after the run, would take longer than the run.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Readout(AbstractProcess):
    """The readout's spike counts, its membranes at the end of each sample, or the largest of it.

    Args:
        values: ``[B, C]`` int32, shared memory to be filled.
        num_steps: T, of a sample.
        delay: of the first sample's first step: the time step at which it arrives here.
        kind: of the readout, as ``IntegerNetwork.readout``: "count" sums what arrives over a sample (spikes), "membrane" keeps the last of
            it, "max" the largest.
        clock: ``[1]`` int64, shared memory that holds the time step.
    """

    def __init__(self, *, values: np.ndarray, num_steps: int, delay: int, kind: str, clock: np.ndarray, name: str):
        super().__init__(values=values, num_steps=num_steps, delay=delay, kind=kind, clock=clock, name=name)
        self.a_in = InPort(shape=values.shape[1:])


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadout(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._values, self._clock = proc_params["values"], proc_params["clock"]
        self._num_steps, self._delay, self._kind = (proc_params[name] for name in ("num_steps", "delay", "kind"))

    def run_spk(self) -> None:
        arrived = self.a_in.recv()
        sample, step = divmod(self.time_step - self._delay, self._num_steps)
        if 0 <= sample < len(self._values):
            if self._kind == "count":
                self._values[sample] += arrived
            elif self._kind == "max" and step:
                np.maximum(self._values[sample], arrived, out=self._values[sample])
            elif self._kind == "max" or step == self._num_steps - 1:
                self._values[sample] = arrived
        self._clock[0] = self.time_step


class Recorder(AbstractProcess):
    """Every spike, current and membrane of a layer.

    Args:
        z: ``[steps, N]`` bool, shared memory to be filled; a row a step.
        u, v: ``[steps, N]`` int32, likewise.
        delay: the time step that belongs to the first row.
        clock: ``[1]`` int64, shared memory that holds the time step.
    """

    def __init__(self, *, z: np.ndarray, u: np.ndarray, v: np.ndarray, delay: int, clock: np.ndarray, name: str):
        super().__init__(z=z, u=u, v=v, delay=delay, clock=clock, name=name)
        self.z_in, self.u_in, self.v_in = (InPort(shape=z.shape[1:]) for _ in range(3))


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):
    z_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    u_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    v_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._z, self._u, self._v = (proc_params[name] for name in "zuv")
        self._delay, self._clock = proc_params["delay"], proc_params["clock"]

    def run_spk(self) -> None:
        row = self.time_step - self._delay
        z, u, v = self.z_in.recv(), self.u_in.recv(), self.v_in.recv()
        if 0 <= row < len(self._z):
            self._z[row], self._u[row], self._v[row] = z, u, v
        self._clock[0] = self.time_step
