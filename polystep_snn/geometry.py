"""What networks are described with, and where the neurons of a convolution look: plain numbers that training and the chip share.

Channels come first, then rows, then columns, as in torch; neurons are numbered in this order. A convolution whose input is summed over
squares first is one with a larger kernel and stride, so sum-pooling takes no neurons and leaves no trace on the chip::

    conv(k, stride s, padding q) after sums over p x p     =     conv(k p, stride s p, padding q p), every weight p x p times
"""

from reprlib import repr as shown
from typing import NamedTuple

from polystep_snn.errors import InputError

Shape = tuple[int, int, int]
MAX_DELAY = 62
"""Steps. Delays have 6 bits on Loihi 2 (lava-nc 0.10, ``PyDelayDenseModelBitAcc``); lava-dl 0.6 uses 0 to 62 (``netx/utils.py``)."""


class Conv(NamedTuple):
    """A layer of spiking neurons behind a convolution.

    Attributes:
        channels: that leave.
        kernel: height and width of its square kernel.
        stride, padding: in both directions.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


class SumPool(NamedTuple):
    """What the neurons before it send is summed over squares; no neurons of its own.

    Attributes:
        size: height and width of a square, and the distance from one to the next.
    """

    size: int


class Recurrent(NamedTuple):
    """A dense layer of spiking neurons that also receive each other's spikes, one step later.

    Attributes:
        width: neurons.
        scale: of the recurrent weights at the start: uniform within ±scale/sqrt(width).
    """

    width: int
    scale: float = 1.0


class Delayed(NamedTuple):
    """A dense layer of spiking neurons whose spikes leave late: those of each neuron by its own whole number of steps.

    Attributes:
        width: neurons.
        max_delay: of their axons, in steps: delays are drawn evenly from 0 to it.
        learned: whether training moves them; else they stay as they are drawn.
    """

    width: int
    max_delay: int
    learned: bool = False


Item = int | Shape | Conv | SumPool | Recurrent | Delayed


class Convolution(NamedTuple):
    """The geometry of a convolution.

    Attributes:
        input_shape: channels, height and width of what arrives.
        channels: that leave.
        kernel: its height and width.
        stride: down and across.
        padding: zeros above and below, left and right.
    """

    input_shape: Shape
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def output_shape(self) -> Shape:
        """Channels, height and width of what leaves."""
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(self.input_shape[1:], self.kernel, self.stride, self.padding, strict=True)
        )
        return self.channels, height, width

    @property
    def num_inputs(self) -> int:
        channels, height, width = self.input_shape
        return channels * height * width

    @property
    def num_neurons(self) -> int:
        channels, height, width = self.output_shape
        return channels * height * width

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Of its weights: ``(channels, input channels, kernel height, kernel width)``."""
        return self.channels, self.input_shape[0], *self.kernel

    def checked(self) -> "Convolution":
        """This geometry, or InputError where there is nothing to compute."""
        for name, length in (("input_shape", 3), ("kernel", 2), ("stride", 2), ("padding", 2)):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != length:
                raise InputError(f"{name} of a convolution is {shown(value)}: give a tuple of {length} whole numbers")
        sizes = (*self.input_shape, self.channels, *self.kernel, *self.stride)
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (*sizes, *self.padding))
        if not whole or min(sizes) < 1 or min(self.padding) < 0:
            raise InputError(f"{self} is no convolution: give whole numbers, all but the padding at least 1")
        if any(padding >= kernel for padding, kernel in zip(self.padding, self.kernel, strict=True)):
            raise InputError(f"padding is {list(self.padding)} for a kernel of {list(self.kernel)}: choose less padding than kernel")
        if min(self.output_shape) < 1:
            raise InputError(
                f"a kernel of {self.kernel[0]} x {self.kernel[1]} does not fit into {self.input_shape[1]} x {self.input_shape[2]}: "
                "choose a smaller one, or pool less"
            )
        return self
