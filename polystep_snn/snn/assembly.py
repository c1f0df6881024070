"""A network of another program, put together in the order in which signals pass through it.

What torch and NIR say in several modules is one layer here: what is summed first, the weights, the neurons, how their spikes come back to
them, how late they leave. A mean over squares is a sum whose divisor goes into the weights behind it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, Delayed, Item, Recurrent, Shape, SumPool
from polystep_snn.snn.magnitude import flaw
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout
from polystep_snn.snn.wiring import wirings_of


class Assembly:
    """What has been read so far. Every method takes the next module; ``where`` names it in messages.

    Args:
        input_shape: of a sample: channels, height and width; None if it is flat, and the first dense layer tells its width.

    Attributes:
        waits: whether weights have been read whose neurons have not.
        num_neurons: that these weights lead to; in general, the numbers that arrive at the next module.
        num_rows: of these weights: one a neuron, or one a channel.

    Raises:
        InputError: from every method, where the module has no counterpart or does not fit to what came before it.
    """

    def __init__(self, input_shape: Sequence[int] | None = None):
        self.waits = False
        self.num_neurons = self.num_rows = 0
        self._architecture: list[Item] = []
        self._maps: Shape | None = None
        self._source, self._divisor = "the input", 1
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        self._neurons: list[LIFParameters | MembraneReadout] = []
        # By the number of the layer that has or receives them.
        self._recurrents: dict[int, Tensor] = {}
        self._delays: dict[int, Tensor] = {}
        if input_shape is not None:
            if not isinstance(input_shape, Sequence) or len(input_shape) != 3:
                raise InputError(f"the input's shape is {input_shape}: give channels, height and width")
            self._maps = (input_shape[0], input_shape[1], input_shape[2])
            self._add("the input", self._maps)

    def flatten(self) -> None:
        """Channels, rows and columns become one row, in this order."""
        self._maps = None

    def pool(self, where: str, size: Any, stride: Any, padding: Any, divisor: int | None = 1) -> None:
        """Sums over squares, divided by a number; by that of what is summed for None."""
        self._need_maps(where)
        size, stride, padding = (
            square(where, name, value) for name, value in (("kernel_size", size), ("stride", stride), ("padding", padding))
        )
        if stride != size or padding:
            raise InputError(
                f"{where}: size {size}, stride {stride} and padding {padding}, but squares tile here: stride = size, padding = 0"
            )
        self._add(where, SumPool(size))
        self._source, self._divisor = where, size**2 if divisor is None else divisor

    def connect(self, where: str, weight: Tensor, bias: Tensor | None) -> None:
        """Dense weights ``[N, M]`` and biases ``[N]``."""
        if self._maps is not None:
            raise InputError(f"{where} would take rows of {_by(self._maps)} by themselves: put a Flatten before it")
        num_neurons, num_inputs = weight.shape
        if not self._architecture:
            self._add(where, num_inputs)
        elif num_inputs != self.num_neurons:
            raise InputError(f"{where} takes {num_inputs} inputs, but {self._source} sends {self.num_neurons}")
        self._add(where, num_neurons)
        self._wait(where, weight, bias)

    def convolve(
        self, where: str, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: Any, size: Any = None
    ) -> None:
        """Weights ``[C, C_in, kernel, kernel]`` and biases ``[C]``; ``size``: height and width of what should arrive, if known."""
        channels, height, width = self._need_maps(where)
        for name, value in (("dilation", dilation), ("groups", groups)):
            if (number := square(where, name, value)) != 1:
                raise InputError(f"{where}: {name} is {number}, but only 1 is read: fill the kernels up with zeros")
        if weight.shape[1] != channels:
            raise InputError(f"{where} takes {weight.shape[1]} channels, but {self._source} sends {channels}")
        if size is not None and list(size) != [height, width]:
            raise InputError(f"{where} takes {_by(size)} a channel, but {self._source} sends {height} x {width}")
        kernel = square(where, "kernel_size", tuple(weight.shape[2:]))
        self._add(where, Conv(len(weight), kernel, square(where, "stride", stride), square(where, "padding", padding)))
        self._wait(where, weight, bias)

    def recur(self, where: str, weight: Tensor, bias: Tensor | None) -> None:
        """Recurrent weights ``[N, N]`` of the layer whose neurons come next, and biases ``[N]`` that are added in every step."""
        if not isinstance(self._architecture[-1], int):
            raise InputError(f"{where}: spikes of maps come back, but recurrent layers are dense here: take a dense layer")
        if weight.shape != (self.num_rows, self.num_rows):
            raise InputError(f"{where} has recurrent weights {list(weight.shape)} for {self.num_rows} neurons: give one from each to each")
        self._architecture[-1] = Recurrent(self.num_rows)
        self._recurrents[len(self._weights) - 1] = weight.detach().to("cpu", torch.float64, copy=True)
        if bias is not None:
            self._biases[-1] = self._biases[-1] + bias.detach().to("cpu", torch.float64)

    def delay(self, where: str, steps: np.ndarray) -> None:
        """How many steps later the spikes of each neuron before it arrive, ``[N]`` whole numbers."""
        before = self._architecture[-1] if self._neurons else None
        if before is None:
            raise InputError(f"{where} delays the input, but only hidden neurons have delays here: delay the samples instead")
        if isinstance(before, Recurrent):
            raise InputError(f"{where} delays spikes of recurrent neurons, but a layer has either here: put a dense layer between")
        if not isinstance(before, int | Delayed):
            raise InputError(f"{where} delays spikes of maps, but those of dense layers alone can be late here: take a dense layer")
        total = self._delays.get(len(self._weights), torch.zeros(self.num_neurons, dtype=torch.int64)) + torch.from_numpy(steps)
        if not total.any():
            return
        self._architecture.pop()
        self._add(where, Delayed(self.num_neurons, int(total.max())))
        self._delays[len(self._weights)] = total

    def fire(self, where: str, gain: float | np.ndarray, added: float | np.ndarray, neuron: LIFParameters | MembraneReadout) -> None:
        """The neurons behind the weights, whose input is multiplied by ``gain`` and then ``added`` to: numbers, or ``[num_rows]``."""
        scale = torch.as_tensor(gain, dtype=torch.float64)
        self._weights[-1] *= scale.reshape(-1, *[1] * (self._weights[-1].ndim - 1))
        if (layer := len(self._weights) - 1) in self._recurrents:
            self._recurrents[layer] *= scale.reshape(-1, 1)
        self._biases[-1] = self._biases[-1] * scale + torch.as_tensor(added, dtype=torch.float64)
        self._neurons.append(neuron)
        self._source, self.waits = where, False

    def network(self, like: Tensor) -> SpikingNetwork:
        """The whole network, on the device and in the dtype of ``like``."""
        if self.waits or not self._neurons:
            raise InputError(f"{self._source} is the last layer and has no neurons: end with some")
        if isinstance(self._architecture[-1], Conv):
            raise InputError(f"{self._source} ends the network behind a convolution, but a readout is dense here: end with a dense layer")
        if isinstance(self._architecture[-1], Recurrent | Delayed):
            memory = "recurrent" if isinstance(self._architecture[-1], Recurrent) else "late"
            raise InputError(f"{self._source} ends the network and is {memory}, but no readout is here: end with a dense layer")
        *hidden, last = self._neurons
        readout = last if isinstance(last, MembraneReadout) else SpikeCountReadout(last)
        network = SpikingNetwork(self._architecture, [p for p in hidden if isinstance(p, LIFParameters)], readout).to(like)
        with torch.no_grad():
            for k, delays in self._delays.items():
                network.get_buffer(f"delays_{k}").copy_(delays)
            parameters = [*network.weights, *network.biases, *network.recurrents.values()]
            for parameter, value in zip(parameters, [*self._weights, *self._biases, *self._recurrents.values()], strict=True):
                parameter.copy_(value)
                if (found := flaw(parameter)) is not None:
                    raise InputError(f"weights or biases, times their neurons' constants, contain {found}: scale them down")
        return network

    def _need_maps(self, where: str) -> Shape:
        if self._maps is None:
            raise InputError(
                f"{where} needs channels, rows and columns, but what arrives is flat: place it before Flatten and dense layers"
            )
        return self._maps

    def _add(self, where: str, item: Item) -> None:
        """One more item of the architecture, and the shape behind it."""
        try:
            *before, behind = wirings_of([*self._architecture, item, 1])
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        self._architecture.append(item)
        self.num_neurons = behind.num_inputs // behind.pooled
        if behind.pool is not None:
            self._maps = behind.pool.output_shape
        elif isinstance(item, Conv):
            geometry = before[-1].convolution
            self._maps = None if geometry is None else geometry.output_shape

    def _wait(self, where: str, weight: Tensor, bias: Tensor | None) -> None:
        """Products are made in float64 and rounded once."""
        weight = weight.detach().to("cpu", torch.float64)
        bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().to("cpu", torch.float64, copy=True)
        self._weights.append(weight / self._divisor)
        self._biases.append(bias)
        self._source, self._divisor = where, 1
        self.waits, self.num_rows = True, len(weight)


def square(where: str, name: str, value: Any) -> int:
    """The whole number that stands for both directions.

    Raises:
        InputError: two of them, or none.
    """
    numbers = np.unique(0 if isinstance(value, str) and value == "valid" else value)
    if numbers.size != 1 or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers[0]) or numbers[0] % 1:
        given = repr(value[:20]) if isinstance(value, str) else np.asarray(value).tolist()
        raise InputError(f"{where}: {name} is {given}: give one whole number for both directions")
    return int(numbers[0])


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
