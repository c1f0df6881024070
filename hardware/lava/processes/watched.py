"""Neurons that tell, at the end of a sample, what they received in it; and a source whose input neurons have registers.

A sum a neuron and sample, as an integrator beside the neuron would hold it. Everything is in time steps of Lava: a sample takes ``period``
of them, T of the network's and a pause, in which what was worked out is written.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.input_neurons import InputNeurons, received
from polystep_snn.hardware.lava.processes.neurons import Neurons, PyNeurons


class IntensitySource(AbstractProcess):
    """Sends images, one after the other, as its input neurons encode them, a row of spikes a step, and silence in every pause.

    Args:
        images: ``[S, M]`` float32 intensities.
        encoder: a code of input neurons.
        num_steps: T.
        period: T and the pause.
        neurons: their registers at first, which may be written in a pause.
    """

    def __init__(self, *, images: np.ndarray, encoder: str, num_steps: int, period: int, neurons: InputNeurons, name: str):
        super().__init__(images=images, encoder=encoder, num_steps=num_steps, period=period, name=name)
        shape = images.shape[1:]
        self.vth, self.bias = Var(shape=shape, init=neurons.vth), Var(shape=shape, init=neurons.bias)
        self.s_out, self.received_out = OutPort(shape=shape), OutPort(shape=shape)


@implements(proc=IntensitySource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyIntensitySource(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, bool, precision=1)
    received_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=18)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._images, self._encoder = proc_params["images"], proc_params["encoder"]
        self._num_steps, self._period = proc_params["num_steps"], proc_params["period"]
        self._silence = self._sample = np.zeros((1, self._images.shape[1]), np.uint8)

    def run_spk(self) -> None:
        sample, step = divmod(self.time_step - 1, self._period)
        if sample >= len(self._images) or step >= self._num_steps:
            self.s_out.send(self._silence[0].view(bool))
            return
        if step == 0:
            image = self._images[sample : sample + 1]
            neurons = InputNeurons(self.vth.astype(np.int32), self.bias.astype(np.int32))
            self._sample = np.ascontiguousarray(encode(self._encoder, self._num_steps, image, neurons)[:, 0])
        self.s_out.send(self._sample[step].view(bool))
        if step == self._num_steps - 1:
            self.received_out.send(received(self._images[sample]))


class WatchedNeurons(Neurons):
    """A layer that sends, at the end of a sample, what its neurons received (``sums_out``) and what they say (``values_out``).

    Args:
        vth: ``[N]``.
        num_steps: T.
        period: T and the pause, after which ``u`` and ``v`` are cleared.
        first_step: the time step at which the first sample arrives here.
        readout: what they say, as ``IntegerNetwork.readout``: how often they fired, where their membranes are, or where the largest was.
    """

    def __init__(self, *, vth: np.ndarray, num_steps: int, period: int, first_step: int, readout: str, **options):
        super().__init__(shape=vth.shape, vth=vth, reset_interval=period, reset_offset=first_step % period, **options)
        # Lava's own takes no others.
        for name, value in (("num_steps", num_steps), ("period", period), ("first_step", first_step), ("readout", readout)):
            self.proc_params[name] = value
        self.sums_out, self.values_out = OutPort(shape=vth.shape), OutPort(shape=vth.shape)


class PyWatchedNeurons(PyNeurons):
    """What is computed is Lava's, from thresholds as they stand: its own models look at them once, and never again."""

    implements_process = WatchedNeurons
    sums_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    values_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._num_steps, self._period, self._first_step = (proc_params[name] for name in ("num_steps", "period", "first_step"))
        self._readout = proc_params["readout"]
        self._sums, self._counts, self._largest = np.zeros((3, *proc_params["shape"]), np.int32)

    def subthr_dynamics(self, activation_in: np.ndarray) -> None:
        self._arrived = activation_in
        super().subthr_dynamics(activation_in)

    def spiking_activation(self) -> np.ndarray:
        self._spikes = super().spiking_activation()
        return self._spikes

    def run_spk(self) -> None:
        self.isthrscaled = False
        super().run_spk()
        sample, step = divmod(self.time_step - self._first_step, self._period)
        if sample < 0 or step >= self._num_steps:
            return
        if step == 0:
            self._sums[...] = 0
            self._counts[...] = 0
            self._largest[...] = np.iinfo(np.int32).min
        self._sums += self._arrived
        self._counts += self._spikes
        np.maximum(self._largest, self.v.astype(np.int32), out=self._largest)
        if step == self._num_steps - 1:
            self.sums_out.send(self._sums)
            self.values_out.send({"count": self._counts, "max": self._largest, "membrane": self.v.astype(np.int32)}[self._readout])
