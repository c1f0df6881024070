r"""Integer networks as lava-dl's ``.net`` files, which ``lava.lib.dl.netx.hdf5.Network`` loads. Written with h5py alone.

``layer/<k>`` holds ``type`` b"dense", ``shape``, ``inFeatures``, ``outFeatures``, ``weight`` [N, M] float32, ``bias`` [N] if there is
one, and ``neuron`` with ``type`` "CUBA", ``iDecay`` = du + 1, ``vDecay`` = dv, ``vThMant``, ``refDelay`` = 1, ``gradedSpike`` = False.
Convolutions are in ``netx_convolution.py``; a network that starts with one has a layer "input" of their shape in front, and a layer
"flatten" stands between one and a dense layer.

**Weights** of dense layers are the integers themselves. The loader (``netx/utils.py: optimize_weight_bits``) shifts them left by as
many bits as 8 bits leave room for and undoes that with the weight exponent, which is lossless: its sums are those of ``fixed_point.py``.
Three exceptions are refused here: a layer of zeros (it takes the logarithm of 255 / 0), and a layer without a positive weight whose
lowest one is a power of two: shifted it is -256, and Lava's inhibitory synapses end at -255.

**Biases** are shifted by 6 bits (the loader knows no other exponent), so the others cannot be carried. **Thresholds** are one a layer:
Lava's LIF has one, of shape (1,).

**Readout.** The network's output port carries spikes. For a readout whose membranes decide, look at ``network.out_layer.neuron.v`` after
the last step; with the largest threshold, 2^17 - 1, it never fires below saturation. Every layer answers a step later than the one
before it, though its bias acts from the first step on: the loader's ``reset_interval`` resets the layers one after the other.

lava-dl takes no notice of the dataset ``polystep_snn`` beside ``layer``: our own file, with everything that has no place here.

Source: lava-dl ``netx/hdf5.py``, ``netx/utils.py`` and ``netx/blocks/process.py``; lava-nc ``utils/weightutils.py``.
"""

import io
import logging
from dataclasses import replace
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically
from polystep_snn.hardware.formats import netx_convolution
from polystep_snn.hardware.formats.embedded import NAME, embed, extract, same
from polystep_snn.hardware.formats.hdf5 import Tree, one_number, part, read_tree, require, whole
from polystep_snn.hardware.integer_network import EXPONENTS, IntegerLayer, IntegerNetwork

BIAS_EXP = 6
_log = logging.getLogger("polystep_snn")


def write(path: str | Path, network: IntegerNetwork) -> None:
    """Write a network atomically.

    Args:
        path: the file, by custom ``.net``.
        network: one that the format can carry.

    Raises:
        InputError: h5py is not installed, the file cannot be written, or a layer has what the format has no place for; names it.
    """
    h5py = require("h5py")
    layers, data = describe(network), embed(network)
    # HDF5 does not survive a full disk: it writes to memory.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for k, fields in layers.items():
            group = file.create_group(f"layer/{k}")
            # The shape and type that lava-dl gives the name.
            group.create_dataset("type", (1,), "S10", [fields["type"][0].encode()])
            _fill(group, {name: value for name, value in fields.items() if name != "type"})
        file[NAME] = data
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(memory.getbuffer()))


def read(path: str | Path, num_steps: int | None = None) -> IntegerNetwork:
    """A chain of dense and convolutional CUBA layers: one that ``write`` was given, or one that lava-dl exported.

    A file of lava-dl says nothing of encoders or classes: the network takes "events", counts spikes, and numbers its classes.

    Args:
        path: the file.
        num_steps: T. Needed for a file of lava-dl, which does not say; replaces the one in a file of ours.

    Raises:
        InputError: no such file, a damaged one, a layer that has no counterpart here (names it), or one of ours that was changed since.
    """
    path = Path(path)
    tree = read_tree(path)
    layers = part(tree, "layer", dict, f"{path} is no lava-dl network: it")
    if NAME not in tree:
        if num_steps is None:
            raise InputError(f"{path} does not say for how many steps it runs: give num_steps")
        network = _foreign(path, layers, num_steps)
        _log.warning("%s: neurons fire above their threshold here, as in Lava and on the chip; while lava-dl trains, also at it", path.name)
        return network
    network = extract(part(tree, NAME, np.ndarray, f"{path}:"), path)
    if not same(describe(network), layers):
        raise InputError(f"{path}: the layers are no longer those of the network inside: export it again, or delete {NAME!r} from the file")
    return network if num_steps is None else replace(network, num_steps=num_steps)


def describe(network: IntegerNetwork) -> Tree:
    """The layers of a network's file as nested dicts, just as they are read.

    Raises:
        InputError: what the format cannot carry.
    """
    layers: list[Tree] = []
    shape: tuple[int, ...] | None = None
    for k, layer in enumerate(network.layers):
        convolution = layer.convolution
        if convolution is None:
            layers += [{"type": ["flatten"]}] if shape and len(shape) > 1 else []
            shape = (layer.num_neurons,)
        else:
            if shape is None:
                layers.append({"type": ["input"], "shape": np.array(convolution.input_shape, np.int64)})
            elif shape != convolution.input_shape:
                raise InputError(
                    f"layer {k} sees {list(convolution.input_shape)}, but what comes before it has shape {list(shape)}: "
                    "lava-dl cannot reshape it"
                )
            shape = convolution.output_shape
        layers.append(_layer_fields(f"layer {k}", layer))
    return {str(k): fields for k, fields in enumerate(layers)}


def _layer_fields(where: str, layer: IntegerLayer) -> Tree:
    if len(np.unique(layer.vth)) > 1:
        raise InputError(
            f"{where}: thresholds differ, {int(layer.vth.min())} to {int(layer.vth.max())}, but lava-dl has one a layer: train with one"
        )
    neuron: Tree = {
        "type": "CUBA",
        "iDecay": np.int64(layer.du + 1),
        "vDecay": np.int64(layer.dv),
        "vThMant": np.int64(layer.vth[0]),
        "refDelay": np.int64(1),
        "gradedSpike": np.bool_(False),
    }
    mantissas = _mantissas(where, layer) if layer.bias.any() else None
    if layer.convolution is not None:
        weight = layer.weight.astype(np.int16) << layer.weight_exp
        return netx_convolution.describe(where, weight, layer.convolution, mantissas) | {"neuron": neuron}
    _check_dense_weights(where, layer.weight)
    fields: Tree = {
        "type": ["dense"],
        "shape": np.array([layer.num_neurons], np.int64),
        "inFeatures": np.int64(layer.num_inputs),
        "outFeatures": np.int64(layer.num_neurons),
        "weight": layer.weight.astype(np.float32) * 2**layer.weight_exp,
        "neuron": neuron,
    }
    return fields if mantissas is None else fields | {"bias": mantissas.astype(np.float32)}


def _check_dense_weights(where: str, weight: np.ndarray) -> None:
    low, high = int(weight.min()), int(weight.max())
    if low == high == 0:
        raise InputError(f"{where}: all weights are 0, which lava-dl cannot scale: leave the layer out, or give it one other weight")
    if high <= 0 and -low & (-low - 1) == 0:
        raise InputError(
            f"{where}: no weight is positive and the lowest is {low}, which lava-dl would clip: "
            f"make it {low + 1 if low < -2 else -3}, or any weight positive"
        )


def _mantissas(where: str, layer: IntegerLayer) -> np.ndarray:
    """The biases with the one exponent there is."""
    odd = layer.bias[layer.bias % 2**BIAS_EXP != 0]
    if odd.size:
        raise InputError(f"{where}: a bias is {int(odd[0])}, but lava-dl's are multiples of {2**BIAS_EXP}: round it, or train without")
    mantissas = layer.bias >> BIAS_EXP
    reach = np.iinfo(np.int16)
    wide = layer.bias[(mantissas < reach.min) | (mantissas > reach.max)]
    if wide.size:
        raise InputError(f"{where}: a bias is {int(wide[0])}, beyond 16 bits times {2**BIAS_EXP}: lower it")
    return mantissas


def _fill(group: Any, fields: Tree) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
        else:
            group[name] = value


def _foreign(path: Path, groups: Tree, num_steps: int) -> IntegerNetwork:
    """A network that lava-dl's loader would build the same."""
    numbered = [groups.get(str(k)) for k in range(len(groups))]
    layers: list[IntegerLayer] = []
    shape: tuple[int, ...] | None = None
    flat = False
    for k, group in enumerate(numbered):
        where = f"{path}: layer {k}"
        if not isinstance(group, dict):
            raise InputError(f"{where} is missing: the layers must be numbered from 0")
        try:
            kind = _type_of(group, "it")
            if kind == "input" and any(name in group for name in ("neuron", "weight", "bias")):
                raise InputError(
                    "its input block has neurons, which make spikes of values, and here spikes arrive: export the network without them, "
                    "and give it the spikes that they send"
                )
            if k == 0 and kind == "input":
                shape = netx_convolution.sizes(group, "shape", None) if "shape" in group else None
                continue
            if kind == "flatten" and (not layers or layers[-1].convolution is not None):
                flat = True
                continue
            if kind == "conv" and not flat:
                layers.append(_foreign_convolution(group, shape))
            elif kind == "dense" and (flat or not layers or layers[-1].convolution is None):
                layers.append(_foreign_layer(group))
            else:
                raise InputError(f"it is {shown(kind)}: only 'dense' layers are read, and 'conv' with a 'flatten' between the two")
            shape, flat = netx_convolution.output_shape(layers[-1]), False
            _layer_fields("its meaning in lava-dl", layers[-1])
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if not layers:
        raise InputError(f"{path} has no dense layer and no convolution: export a network")
    first = layers[0].convolution
    return IntegerNetwork(
        layers=tuple(layers),
        readout="count",
        num_steps=num_steps,
        encoder="events",
        input_shape=(layers[0].num_inputs,) if first is None else first.input_shape,
        classes=tuple(str(c) for c in range(layers[-1].num_neurons)),
        provenance={"source": path.name},
    )


def _type_of(group: Tree, where: str) -> str:
    """The text at "type", alone or in a list of one."""
    value = group.get("type")
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return part({"type": value}, "type", str, where)


def _foreign_layer(group: Tree) -> IntegerLayer:
    weight, exponent = split_weights(whole("weight", part(group, "weight", np.ndarray, "it"), np.int16))
    if weight.ndim == 1:  # lava-dl's loader takes a flattened matrix too
        rows = one_number(group, "shape")
        if rows < 1 or weight.size % rows:
            raise InputError(f"{weight.size} weights for {rows} neurons: give the same number to each")
        weight = weight.reshape(rows, -1)
    if weight.ndim != 2:
        raise InputError(f"weight is {list(weight.shape)}: give [outputs, inputs]")
    size = len(weight)
    bias = whole("bias", part(group, "bias", np.ndarray, "it"), np.int16) if "bias" in group else np.zeros(size, np.int16)
    return IntegerLayer(weight=weight, bias_mant=bias.reshape(-1), weight_exp=exponent, **_foreign_neurons(group, size))


def split_weights(weight: np.ndarray) -> tuple[np.ndarray, int]:
    """int8 weights and an exponent for whole numbers: lava-dl quantizes to even ones, of 8 bits and an exponent of 1.

    Raises:
        InputError: numbers that 8 bits and an exponent cannot hold.
    """
    for exponent in EXPONENTS:
        low = weight >> exponent
        if (low << exponent != weight).any():
            break
        if not low.size or (low.min() >= -128 and low.max() <= 127):
            return low.astype(np.int8), exponent
    raise InputError(
        f"weights reach from {int(weight.min())} to {int(weight.max())} in steps of {2 ** max(0, exponent - 1)}, which 8 bits and an "
        "exponent do not hold: quantize to even numbers from -256 to 254, or to -128 to 127"
    )


def _foreign_convolution(group: Tree, input_shape: tuple[int, ...] | None) -> IntegerLayer:
    weight, convolution, bias = netx_convolution.foreign(group, input_shape)
    neurons = _foreign_neurons(group, convolution.num_neurons)
    return IntegerLayer(weight=weight, bias_mant=bias, convolution=convolution, **neurons)


def _foreign_neurons(group: Tree, size: int) -> dict[str, Any]:
    for name in ("delay", "weight_rec"):
        if name in group:
            raise InputError(f"it has {name!r}, which has no counterpart here")
    neuron = part(group, "neuron", dict, "it")
    kind = _type_of(neuron, "its 'neuron'")
    if kind not in ("CUBA", "LOIHI"):
        raise InputError(f"its neurons are {shown(kind)}: only 'CUBA' ones are read")
    constants = {name: one_number(neuron, name) for name in ("iDecay", "vDecay", "vThMant")}
    for name, plain in (("messageBits", 0), ("gradedSpike", 0), ("refDelay", 1)):
        if name in neuron and one_number(neuron, name) != plain:
            raise InputError(f"{name} is {one_number(neuron, name)}: only {plain} has a counterpart here")
    if not -(2**31) <= constants["vThMant"] < 2**31:
        raise InputError(f"vThMant is {constants['vThMant']}: it must fit 17 bits")
    return {
        "vth": np.full(size, constants["vThMant"], np.int32),
        "bias_exp": BIAS_EXP,
        "du": constants["iDecay"] - 1,
        "dv": constants["vDecay"],
    }
