"""The neurons of a layer: Lava's own fixed-point LIF, with a threshold for every neuron and ports that show its state."""

import numpy as np
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.variable import Var
from lava.proc.lif.models import PyLifResetModelBitAcc
from lava.proc.lif.process import LIFReset


class Neurons(LIFReset):
    """``LIFReset`` with thresholds ``[N]``; ``u_out`` and ``v_out`` send the state after each step, where they are connected."""

    def __init__(self, *, shape: tuple[int, ...], vth: np.ndarray, **options):
        super().__init__(shape=shape, vth=vth, **options)
        self.vth = Var(shape=shape, init=vth)
        self.u_out = OutPort(shape=shape)
        self.v_out = OutPort(shape=shape)


class PyNeurons(PyLifResetModelBitAcc):
    """What is computed is Lava's; this adds what is sent. Protocol, resources and tags are inherited."""

    implements_process: type = Neurons  # the decorator refuses a model whose parent implements another Process
    vth = LavaPyType(np.ndarray, np.int32, precision=17)
    u_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        super().run_spk()
        self.u_out.send(self.u)
        self.v_out.send(self.v)
