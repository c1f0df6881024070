r"""The convolutions in lava-dl's ``.net`` files.

A layer holds ``type`` b"conv", ``shape`` (channels, height, width) of its neurons, ``inChannels``, ``outChannels``, ``kernelSize``,
``stride``, ``padding``, ``dilation`` (height, width), ``groups`` = 1, ``weight`` as ``weight_shape`` in float32, and ``neuron`` as a
dense one has it. ``bias`` is [channels], or [width, height, channels] where neurons of a channel differ.

The loader mirrors the kernels and turns everything to (width, height, channels) for ``lava.proc.conv.process.Conv``. It does not scale
the weights of a convolution, and Lava's model takes them as they are: all are lossless. Its variables for strides and paddings have 8
bits. Behind a "flatten" neurons are numbered as here: channel, row, column.

Source: lava-dl ``netx/hdf5.py: create_conv``, ``netx/blocks/process.py`` and ``slayer/block/base.py``; lava-nc ``proc/conv/models.py``.
"""

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.formats.hdf5 import Tree, one_number, part, whole
from polystep_snn.hardware.integer_network import IntegerLayer

_LARGEST = 127
# Those of 16 chips.
_MOST_NEURONS = 2**24


def describe(where: str, weight: np.ndarray, convolution: Convolution, mantissas: np.ndarray | None) -> Tree:
    """A layer's fields, but for its neurons.

    Args:
        where: of the layer, for messages.
        weight: as ``IntegerLayer`` has it.
        convolution: its geometry.
        mantissas: ``[N]`` biases, or None.

    Raises:
        InputError: what the format cannot carry.
    """
    for name in ("stride", "padding", "kernel"):
        if max(getattr(convolution, name)) > _LARGEST:
            raise InputError(
                f"{where}: {name} is {list(getattr(convolution, name))}, but Lava holds at most {_LARGEST}: choose a smaller one"
            )
    channels, height, width = convolution.output_shape
    pairs = {"kernelSize": convolution.kernel, "stride": convolution.stride, "padding": convolution.padding, "dilation": (1, 1)}
    fields: Tree = {
        "type": ["conv"],
        "shape": np.array([channels, height, width], np.int64),
        "inChannels": np.int64(convolution.input_shape[0]),
        "outChannels": np.int64(channels),
        **{name: np.array(pair, np.int64) for name, pair in pairs.items()},
        "groups": np.int64(1),
        "weight": weight.astype(np.float32),
    }
    if mantissas is None:
        return fields
    each = mantissas.reshape(channels, height, width)
    same = (each == each[:, :1, :1]).all()
    return fields | {"bias": (each[:, 0, 0] if same else each.transpose(2, 1, 0)).astype(np.float32)}


def foreign(group: Tree, input_shape: tuple[int, ...] | None) -> tuple[np.ndarray, Convolution, np.ndarray]:
    """Weights, geometry and biases ``[N]`` of a layer that lava-dl's loader would build the same.

    Args:
        group: of the layer.
        input_shape: of what comes before it, if the file says.

    Raises:
        InputError: no such shape, dilation or groups, values that no layer has.
    """
    if input_shape is None or len(input_shape) != 3:
        given = "unknown" if input_shape is None else list(input_shape)
        raise InputError(f"the shape of its input is {given}: give (channels, height, width) in a layer 'input' before it")
    weight = whole("weight", part(group, "weight", np.ndarray, "it"), np.int8)
    if weight.ndim == 5 and weight.shape[4] == 1:  # with the time that lava-dl's kernels have
        weight = weight[..., 0]
    if weight.ndim != 4:
        raise InputError(f"weight is {list(weight.shape)}: give [channels, input channels, kernel height, kernel width]")
    for name in ("dilation", "groups"):
        if one_number(group, name) != 1:
            raise InputError(f"{name} is {one_number(group, name)}: only 1 has a counterpart here")
    stride, padding = (sizes(group, name, 2) for name in ("stride", "padding"))
    channels, inputs, height, width = weight.shape
    convolution = Convolution(
        (input_shape[0], input_shape[1], input_shape[2]),
        channels,
        (height, width),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
    ).checked()
    if inputs != input_shape[0] or sizes(group, "shape", None) != convolution.output_shape:
        raise InputError(
            f"weights {list(weight.shape)} on {list(input_shape)} make {list(convolution.output_shape)} neurons of {input_shape[0]} "
            "input channels, but its shapes are others"
        )
    if convolution.num_neurons > _MOST_NEURONS:  # which the file itself need not hold
        raise InputError(f"it has {convolution.num_neurons} neurons: at most {_MOST_NEURONS} are read")
    return weight, convolution, _biases(group, convolution)


def _biases(group: Tree, convolution: Convolution) -> np.ndarray:
    if "bias" not in group:
        return np.zeros(convolution.num_neurons, np.int16)
    bias, shape = whole("bias", part(group, "bias", np.ndarray, "it"), np.int16), convolution.output_shape
    if bias.shape == shape[::-1]:
        return np.ascontiguousarray(bias.transpose(2, 1, 0)).reshape(-1)
    if bias.shape == shape[:1]:
        return bias.repeat(shape[1] * shape[2])
    raise InputError(f"bias is {list(bias.shape)}: give one a channel, {shape[0]}, or {list(shape[::-1])}")


def sizes(group: Tree, name: str, count: int | None) -> tuple[int, ...]:
    """Whole numbers at ``name``; where ``count`` are wanted, a single one stands for all."""
    values = whole(name, part(group, name, np.ndarray, "it"), np.int64).reshape(-1).tolist()
    if count is not None and len(values) == 1:
        values *= count
    if (count is not None and len(values) != count) or not all(0 <= value < 2**31 for value in values):
        raise InputError(f"{name} is {values[:4]}: give {count or 'some'} whole numbers, none below zero")
    return tuple(values)


def output_shape(layer: IntegerLayer) -> tuple[int, ...]:
    """Of a layer's neurons."""
    return (layer.num_neurons,) if layer.convolution is None else layer.convolution.output_shape
