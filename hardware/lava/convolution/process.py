"""The synapses of a convolution: Lava's own, faster."""

import numpy as np
from lava.magma.core.model.py.type import LavaPyType
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv
from numpy.lib.stride_tricks import sliding_window_view


class Convolution(Conv):
    """``Conv``, in Lava's layout: inputs and outputs [x, y, channels], weights [channels, x, y, input channels], mirrored in x and y."""


class PyConvolution(PyConvModelFixed):
    """Lava's model makes a call of scipy for every pair of channels in every step; this makes one product, of the same numbers.

    What is sent when, and the 24 bits of a sum, are Lava's. The sums are integers below 2^24, which float32 holds exactly.
    """

    implements_process: type = Convolution  # the decorator refuses a model whose parent implements another Process
    a_buf: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        # Lava's variables for sizes have 8 bits.
        (width, height, channels), weight = proc_params["input_shape"], proc_params["weight"]
        self._stride, self._kernel = proc_params["stride"], weight.shape[1:3]
        left, above = proc_params["padding"]
        self._padded = np.zeros((width + 2 * left, height + 2 * above, channels), np.float32)
        self._inside = self._padded[left : left + width, above : above + height]
        # One row a tap, in the order of the windows.
        self._taps = np.ascontiguousarray(weight[:, ::-1, ::-1].reshape(len(weight), -1).T, np.float32)

    def run_spk(self) -> None:
        self.a_out.send(self.a_buf)
        np.not_equal(self.s_in.recv(), 0, out=self._inside, casting="unsafe")
        windows = sliding_window_view(self._padded, self._kernel, (0, 1))[:: self._stride[0], :: self._stride[1]]
        columns, rows = windows.shape[:2]
        sums = windows.transpose(0, 1, 3, 4, 2).reshape(columns * rows, -1) @ self._taps
        self.a_buf = self.clamp_precision(sums.reshape(columns, rows, -1).astype(np.int32))
