r"""How the neurons of a layer are connected to what arrives: densely or by a convolution, after sum-pooling or without.

Everything is a linear map from ``num_inputs`` to ``num_neurons`` numbers, and both ends are flat: a map of channels, rows and columns is
numbered in this order. A wiring holds no weights, only where they go; weights have its ``weight_shape``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d
from torch.nn.grad import conv2d_input

from polystep_snn.errors import InputError
from polystep_snn.geometry import MAX_DELAY, Conv, Convolution, Delayed, Item, Recurrent, Shape, SumPool


class Pool(NamedTuple):
    """The geometry of sum-pooling.

    Attributes:
        shape: channels, height and width of what arrives; both divisible by ``size``.
        size: of a square.
    """

    shape: Shape
    size: int

    @property
    def output_shape(self) -> Shape:
        channels, height, width = self.shape
        return channels, height // self.size, width // self.size

    def sums(self, x: Tensor) -> Tensor:
        """``[..., C H W]`` summed over squares."""
        sums = avg_pool2d(x.reshape(-1, *self.shape), self.size, divisor_override=1)
        return sums.reshape(*x.shape[:-1], -1)

    def spread(self, x: Tensor) -> Tensor:
        """The transpose of ``sums``: every number at all places of its square, ``[..., C H W]``."""
        maps = x.reshape(-1, *self.output_shape).repeat_interleave(self.size, -2).repeat_interleave(self.size, -1)
        return maps.reshape(*x.shape[:-1], -1)

    def squares(self, inputs: Tensor) -> Tensor:
        """The squares that inputs ``[K]`` belong to."""
        _, height, width = self.shape
        row, column = inputs // width, inputs % width
        channel, row = row // height, row % height
        _, rows, columns = self.output_shape
        return (channel * rows + row // self.size) * columns + column // self.size


class Fan(NamedTuple):
    """The weights that leave some inputs.

    Attributes:
        values: ``[K, P]``.
        targets: ``[K, P]`` the neurons that they reach; None for all, in order. Where an input at the border reaches fewer than P, some
            neuron is named with a weight of 0.
    """

    values: Tensor
    targets: Tensor | None


class Wiring(NamedTuple):
    """Where weights go.

    Attributes:
        num_inputs: numbers that arrive, before pooling.
        num_neurons: that receive currents.
        convolution: None for dense weights.
        pool: what is done to the input first; None for nothing.
        recurrent: whether the neurons also receive each other's spikes of the step before.
        max_delay: the most steps that a spike takes to arrive; 0 where all arrive at once.
        learned_delays: whether training moves delays.
    """

    num_inputs: int
    num_neurons: int
    convolution: Convolution | None = None
    pool: Pool | None = None
    recurrent: bool = False
    max_delay: int = 0
    learned_delays: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether the map is the weights themselves."""
        return self.convolution is None and self.pool is None

    @property
    def pooled(self) -> int:
        """Inputs that share a weight because they are summed."""
        return 1 if self.pool is None else self.pool.size**2

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.convolution is not None:
            return self.convolution.weight_shape
        return self.num_neurons, self.num_inputs // self.pooled

    @property
    def num_positions(self) -> int:
        """Neurons that share their weights and a bias."""
        return 1 if self.convolution is None else self.num_neurons // self.convolution.channels

    def spread(self, bias: Tensor) -> Tensor:
        """One number a neuron, ``[N]``, of one for all that share their weights."""
        return bias if self.num_positions == 1 else bias.repeat_interleave(self.num_positions)

    def summed(self, x: Tensor) -> Tensor:
        """What the weights see of inputs ``[..., num_inputs]``."""
        return x if self.pool is None else self.pool.sums(x)

    def multiply(self, weight: Tensor, x: Tensor) -> Tensor:
        """Currents ``[..., num_neurons]`` of inputs ``[..., num_inputs]``."""
        x = self.summed(x)
        if self.convolution is None:
            return x @ weight.T
        geometry = self.convolution
        maps = x.reshape(-1, *geometry.input_shape)
        return conv2d(maps, weight, None, geometry.stride, geometry.padding).reshape(*x.shape[:-1], self.num_neurons)

    def transposed(self, weight: Tensor, x: Tensor) -> Tensor:
        """The transpose of ``multiply``: ``[..., num_inputs]`` of ``[..., num_neurons]``."""
        if self.convolution is None:
            back = x @ weight
        else:
            geometry = self.convolution
            maps = x.reshape(-1, *geometry.output_shape)
            shape = (len(maps), *geometry.input_shape)
            back = conv2d_input(shape, weight, maps, geometry.stride, geometry.padding).reshape(*x.shape[:-1], -1)
        return back if self.pool is None else self.pool.spread(back)

    def fan(self, weight: Tensor, inputs: Tensor | None) -> Fan:
        """The weights that leave inputs ``[K]``; all inputs for None."""
        if inputs is None:
            if self.is_matrix:
                return Fan(weight.T, None)
            inputs = torch.arange(self.num_inputs, device=weight.device)
        if self.pool is not None:
            inputs = self.pool.squares(inputs)
        if self.convolution is None:
            return Fan(weight.index_select(1, inputs).T, None)
        return _reached(self.convolution, weight, inputs)


def _reached(geometry: Convolution, weight: Tensor, inputs: Tensor) -> Fan:
    """Input (channel, row, column) arrives with tap ``row + padding - stride * r`` at every output row r where there is such a tap."""
    _, height, width = geometry.input_shape
    channel, position = inputs // (height * width), inputs % (height * width)
    taps, outputs, valid = [], [], []
    for place, size, kernel, stride, padding in zip(
        (position // width, position % width), geometry.output_shape[1:], geometry.kernel, geometry.stride, geometry.padding, strict=True
    ):
        last = (place + padding) // stride
        output = last[:, None] - torch.arange(-(-kernel // stride), device=inputs.device)
        tap = (place + padding)[:, None] - output * stride
        valid.append((output >= 0) & (output < size) & (tap < kernel))
        taps.append(tap.clamp(max=kernel - 1))
        outputs.append(output.clamp(0, size - 1))
    reached = valid[0][:, :, None] & valid[1][:, None, :]
    values = weight[:, channel[:, None, None], taps[0][:, :, None], taps[1][:, None, :]] * reached
    channels, rows, columns = geometry.output_shape
    place = outputs[0][:, :, None] * columns + outputs[1][:, None, :]
    targets = place + torch.arange(channels, device=inputs.device)[:, None, None, None] * (rows * columns)
    return Fan(values.transpose(0, 1).flatten(1), targets.transpose(0, 1).flatten(1))


def wirings_of(architecture: list[Item]) -> list[Wiring]:
    """The wiring of every layer of a network that is described from its input on.

    Args:
        architecture: the input's width, or its channels, height and width; then widths of dense layers,
            ``Recurrent``, ``Delayed``, ``Conv`` and ``SumPool``; the readout's width last.

    Raises:
        InputError: a description of no network.
    """
    first, *rest = architecture
    shape: Shape | None = None
    if isinstance(first, int):
        num_inputs = first
    elif isinstance(first, Recurrent | Delayed):
        raise InputError(f"the input is {first}: give its width, or its channels, height and width")
    else:
        shape = _input_shape(first)
        num_inputs = shape[0] * shape[1] * shape[2]
    wirings: list[Wiring] = []
    pool: Pool | None = None
    late: Delayed | None = None
    for item in rest:
        if isinstance(item, int | Recurrent | Delayed):
            width = item if isinstance(item, int) else _checked(item).width
            arrives = (late.max_delay, late.learned) if late else (0, False)
            shape, wiring = None, Wiring(num_inputs, width, None, pool, isinstance(item, Recurrent), *arrives)
        elif shape is None:
            raise InputError(f"{item} follows a flat layer, so there are no rows and columns: give the input's shape; dense layers last")
        elif isinstance(item, SumPool):
            if pool is not None:
                raise InputError(f"{item} follows another one: choose one pool of the product of their sizes")
            pool = Pool(shape, item.size)
            if item.size < 1 or shape[1] % item.size or shape[2] % item.size:
                raise InputError(
                    f"squares of {item.size} do not tile {shape[1]} x {shape[2]}: choose a size that divides both, or another kernel"
                )
            shape = pool.output_shape
            continue
        elif not isinstance(item, Conv):
            raise InputError(f"{item} is no layer: give a width, Conv or SumPool; only the input has a shape")
        else:
            kernel, stride, padding = ((n, n) for n in item[1:])
            geometry = Convolution(shape, item.channels, kernel, stride, padding).checked()
            shape, wiring = geometry.output_shape, Wiring(num_inputs, geometry.num_neurons, geometry, pool)
        wirings.append(wiring)
        num_inputs, pool = wiring.num_neurons, None
        late = item if isinstance(item, Delayed) else None
    if not wirings or pool is not None or wirings[-1].convolution is not None or not isinstance(rest[-1], int):
        raise InputError(f"a network of {architecture} has no dense readout: end with the number of classes")
    return wirings


def past_steps(wirings: Sequence[Wiring]) -> list[int]:
    """For every layer, for how many steps its spikes are asked for after they were sent: by itself, or by the layer behind it."""
    behind = [*(wiring.max_delay for wiring in wirings[1:]), 0]
    return [max(int(wiring.recurrent), delay) for wiring, delay in zip(wirings, behind, strict=True)]


def _checked(item: Recurrent | Delayed) -> Recurrent | Delayed:
    if item.width < 1:
        raise InputError(f"a layer of width {item.width} has no neurons: give a width of at least 1")
    if isinstance(item, Delayed) and not 1 <= item.max_delay <= MAX_DELAY:
        raise InputError(
            f"a layer's longest delay is {item.max_delay}: choose a longest delay from 1 to {MAX_DELAY} steps, as the chip has"
        )
    if isinstance(item, Recurrent) and not 0 <= item.scale <= 1e3:
        raise InputError(f"a layer's recurrent scale is {item.scale}: choose a scale of the recurrent weights from 0 to 1000")
    return item


def _input_shape(shape: Shape | Conv | SumPool) -> Shape:
    if isinstance(shape, Conv | SumPool) or len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise InputError(f"the input's shape is {shape}: give channels, height and width, or one width")
    return shape[0], shape[1], shape[2]
