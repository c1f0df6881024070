"""Feeds a whole data set, step after step."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class SpikeSource(AbstractProcess):
    """Sends a row of spikes a step, and silence after the last one.

    Args:
        rows: ``[steps, ceil(M / 8)]`` uint8, eight spikes a byte as ``np.packbits`` lays them. Taken over with the process, not copied.
        num_channels: M.
    """

    def __init__(self, *, rows: np.ndarray, num_channels: int, name: str):
        super().__init__(rows=rows, num_channels=num_channels, name=name)
        self.s_out = OutPort(shape=(num_channels,))


@implements(proc=SpikeSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikeSource(PyLoihiProcessModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, bool, precision=1)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self._rows = proc_params["rows"]
        self._num_channels = proc_params["num_channels"]
        self._silence = np.zeros(self._num_channels, bool)

    def run_spk(self) -> None:
        row = self.time_step - 1
        if row < len(self._rows):
            self.s_out.send(np.unpackbits(self._rows[row], count=self._num_channels).view(bool))
        else:
            self.s_out.send(self._silence)
