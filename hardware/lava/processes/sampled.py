"""Neurons and a source that know where a sample ends, and tell then how often each of them fired in it.

A number a neuron and sample instead of a spike a step, as a counter in the neuron's core would hold it. Everything is in time steps of
Lava: a sample takes ``period`` of them, T of the network's and a pause.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from polystep_snn.hardware.lava.processes.neurons import Neurons, PyNeurons


class SampledSource(AbstractProcess):
    """Sends samples in a given order, a row of spikes a step, and silence in every pause.

    Args:
        rows: ``[samples * T, ceil(M / 8)]`` uint8, eight spikes a byte as ``np.packbits`` lays them.
        order: ``[S]`` which sample is sent.
        num_channels: M.
        num_steps: T.
        period: T and the pause.
    """

    def __init__(self, *, rows: np.ndarray, order: np.ndarray, num_channels: int, num_steps: int, period: int, name: str):
        super().__init__(rows=rows, order=order, num_channels=num_channels, num_steps=num_steps, period=period, name=name)
        self.s_out = OutPort(shape=(num_channels,))
        self.counts_out = OutPort(shape=(1, num_channels))


@implements(proc=SampledSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySampledSource(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, bool, precision=1)
    counts_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._rows, self._order = proc_params["rows"], proc_params["order"]
        self._num_channels, self._num_steps, self._period = (proc_params[name] for name in ("num_channels", "num_steps", "period"))
        self._silence = self._sample = np.zeros((1, self._num_channels), np.uint8)

    def run_spk(self) -> None:
        sample, step = divmod(self.time_step - 1, self._period)
        if sample >= len(self._order) or step >= self._num_steps:
            self.s_out.send(self._silence[0].view(bool))
            return
        if step == 0:
            first = self._order[sample] * self._num_steps
            self._sample = np.unpackbits(self._rows[first : first + self._num_steps], axis=1, count=self._num_channels)
        self.s_out.send(self._sample[step].view(bool))
        if step == self._num_steps - 1:
            self.counts_out.send(self._sample.sum(0, dtype=np.int32)[None])


class SampledNeurons(Neurons):
    """A layer beside copies of itself, which see the same inputs with biases of their own.

    ``own_out`` sends the layer's spikes; at the end of a sample ``counts_out`` sends how often it and its copies fired, and ``values_out``
    its membranes.

    Args:
        vth: ``[N]``.
        bias_mant: ``[K, N]``, of the layer and its copies.
        num_steps: T.
        period: T and the pause, after which ``u`` and ``v`` are cleared.
        first_step: the time step at which the first sample arrives here.
    """

    def __init__(self, *, vth: np.ndarray, bias_mant: np.ndarray, num_steps: int, period: int, first_step: int, **options):
        shape = bias_mant.shape
        super().__init__(
            shape=shape,
            vth=np.broadcast_to(vth, shape).copy(),
            bias_mant=bias_mant,
            reset_interval=period,
            reset_offset=first_step % period,
            **options,
        )
        # Lava's own takes no others.
        for name, value in (("num_steps", num_steps), ("period", period), ("first_step", first_step)):
            self.proc_params[name] = value
        self.a_in = InPort(shape=shape[1:])
        self.own_out = OutPort(shape=shape[1:])
        self.counts_out = OutPort(shape=shape)
        self.values_out = OutPort(shape=shape[1:])


class PySampledNeurons(PyNeurons):
    """What is computed is Lava's, for all copies at once: what arrives is added to every row of their currents."""

    implements_process = SampledNeurons
    own_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, bool, precision=1)
    counts_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    values_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._num_steps, self._period, self._first_step = (proc_params[name] for name in ("num_steps", "period", "first_step"))
        self._counts = np.zeros(proc_params["shape"], np.int32)

    def spiking_activation(self) -> np.ndarray:
        self._spikes = super().spiking_activation()
        return self._spikes

    def run_spk(self) -> None:
        super().run_spk()
        self.own_out.send(self._spikes[0])
        sample, step = divmod(self.time_step - self._first_step, self._period)
        if sample < 0 or step >= self._num_steps:
            return
        if step == 0:
            self._counts[...] = 0
        self._counts += self._spikes
        if step == self._num_steps - 1:
            self.counts_out.send(self._counts)
            self.values_out.send(self.v[0])
