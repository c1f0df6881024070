"""The Process that adapts without labels: collects what neurons received, and writes thresholds and biases while the graph runs."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from polystep_snn.hardware.lava.adaptation_message import NETWORKS, registers
from polystep_snn.hardware.unlabelled import Adaptation, Observed

MOST_LAYERS = 8
"""That it has ports for."""
REGISTERS = ("vth", "bias_mant", "bias_exp")
INPUT_REGISTERS = ("input_vth", "input_bias")


class AdapterProcess(AbstractProcess):
    """Carries out an adaptation: when a sample's last values have arrived, what is written acts on the next one.

    Args:
        adaptation: a new one. Changed in the process that Lava makes.
        has_inputs: whether the source has input neurons with registers.
        arrays: shared memory to be filled: of every sample what the two networks showed, and at the end the registers as they are read.
        num_samples: S.
        first_step: the time step at which the first sample's last values arrive.
        period: of a sample.
        clock: ``[1]`` int64, shared memory that holds the time step.
    """

    def __init__(
        self,
        *,
        adaptation: Adaptation,
        has_inputs: bool,
        arrays: dict[str, np.ndarray],
        num_samples: int,
        first_step: int,
        period: int,
        clock: np.ndarray,
        name: str,
    ):
        super().__init__(
            adaptation=adaptation,
            has_inputs=has_inputs,
            arrays=arrays,
            num_samples=num_samples,
            first_step=first_step,
            period=period,
            clock=clock,
            name=name,
        )
        deployed = adaptation.deployed
        # A model has ports of all names that it knows: those of layers that are not there stay unconnected.
        self.received = InPort(shape=(deployed.sizes[0],))
        for who in NETWORKS:
            setattr(self, f"{who}_values", InPort(shape=(len(deployed.classes),)))
            for name in INPUT_REGISTERS:
                setattr(self, f"{who}_{name}", RefPort(shape=(deployed.sizes[0],)))
            for k in range(MOST_LAYERS):
                shape = (deployed.layers[k].num_neurons if k < len(deployed.layers) else 1,)
                setattr(self, f"{who}_sums_{k}", InPort(shape=shape))
                for name in REGISTERS:
                    setattr(self, f"{who}_{name}_{k}", RefPort(shape=shape))


@implements(proc=AdapterProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyAdapter(PyLoihiProcessModel):
    received: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._adaptation, self._arrays, self._clock = (proc_params[name] for name in ("adaptation", "arrays", "clock"))
        self._has_inputs, self._num_samples = proc_params["has_inputs"], proc_params["num_samples"]
        self._first_step, self._period = proc_params["first_step"], proc_params["period"]
        self._held = {who: self._registers(who) for who in NETWORKS}
        self._now: dict[str, np.ndarray] = {}
        self._ends = False

    def run_spk(self) -> None:
        self._now = {}
        sample, step = divmod(self.time_step - self._first_step, self._period)
        if step == 0 and 0 <= sample < self._num_samples:
            self._take(sample)
        self._clock[0] = self.time_step

    def post_guard(self) -> bool:
        return bool(self._now) or self._ends

    def run_post_mgmt(self) -> None:
        for name, values in self._now.items():
            getattr(self, name).write(values)
        # Without this some would be there a step later, by chance.
        for name in self._now:
            getattr(self, name).wait()
        if self._ends:
            for who, held in self._held.items():
                for name in held:
                    self._arrays[f"{who}_{name}"][...] = getattr(self, f"{who}_{name}").read()

    def _registers(self, who: str) -> dict[str, np.ndarray]:
        return registers(getattr(self._adaptation, who))

    def _take(self, sample: int) -> None:
        """What a sample has shown, and what is written after it."""
        observed = []
        for who in NETWORKS:
            names = [*(f"{who}_sums_{k}" for k in range(len(self._adaptation.deployed.layers))), f"{who}_values"]
            *sums, values = (getattr(self, name).recv() for name in names)
            for name, array in zip(names, (*sums, values), strict=True):
                self._arrays[name][sample] = array
            observed.append(Observed([array[None] for array in sums], values[None]))
        received = self.received.recv()[None] if self._has_inputs else None
        self._ends = sample == self._num_samples - 1
        if not self._adaptation.show(received, *observed):
            return
        for who in NETWORKS:
            after = self._registers(who)
            self._now |= {f"{who}_{name}": x for name, x in after.items() if not np.array_equal(x, self._held[who][name])}
            self._held[who] = after


for _who in NETWORKS:
    setattr(PyAdapter, f"{_who}_values", LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24))
    for _name in INPUT_REGISTERS:
        setattr(PyAdapter, f"{_who}_{_name}", LavaPyType(PyRefPort.VEC_DENSE, np.int32))
    for _k in range(MOST_LAYERS):
        setattr(PyAdapter, f"{_who}_sums_{_k}", LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24))
        for _name in REGISTERS:
            # Of int32, as what they refer to has to stay.
            setattr(PyAdapter, f"{_who}_{_name}_{_k}", LavaPyType(PyRefPort.VEC_DENSE, np.int32))
