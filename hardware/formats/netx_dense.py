r"""The dense layers in lava-dl's ``.net`` files, recurrent and delayed ones among them.

A layer holds ``type`` b"dense", ``shape``, ``inFeatures``, ``outFeatures``, ``weight`` [N, M] float32; a recurrent one ``type``
b"dense_rec" and ``weight_rec`` [N, N]; a delayed one ``delay`` [N, M], a delay a synapse.

**Weights** are the integers themselves. The loader (``netx/utils.py: optimize_weight_bits``) shifts them left by as many bits as 8 bits
leave room for and undoes that with the weight exponent, which is lossless: its sums are those of ``fixed_point.py``. Two exceptions are
refused here: a layer of zeros (it takes the logarithm of 255 / 0), and weights without a positive one whose lowest is a power of two:
shifted it is -256, and Lava's inhibitory synapses end at -255. Weights and recurrent ones are shifted alike, and clipped apart.

**Delays.** While lava-dl trains, ``delay`` [N] holds a layer's outputs back. Its loader has no place for that: it takes [N] as delays of
what arrives at each neuron (the same where there are no biases), and [M], if M is not N, as delays of the inputs. Written are all [N, M],
which cannot be mistaken. Read are delays of the inputs ([M], or [N, M] with the same row N times), and [N] as lava-dl means it: delays of
the next layer's inputs. In a recurrent layer the loader takes them for its own spikes too and forgets an exponent: refused.

Source: lava-dl ``netx/hdf5.py: create_dense``, ``netx/utils.py``, ``netx/blocks/process.py`` and ``slayer/block/base.py``.
"""

from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree, one_number, part, whole
from polystep_snn.hardware.integer_network import EXPONENTS, MAX_DELAY, IntegerLayer

TYPES = ("dense", "dense_rec")


def describe(where: str, layer: IntegerLayer, mantissas: np.ndarray | None) -> Tree:
    """A layer's fields, but for its neurons.

    Args:
        where: of the layer, for messages.
        layer: a dense one.
        mantissas: ``[N]`` biases, or None.

    Raises:
        InputError: what the format cannot carry.
    """
    fields: Tree = {
        "type": ["dense" if layer.recurrent is None else "dense_rec"],
        "shape": np.array([layer.num_neurons], np.int64),
        "inFeatures": np.int64(layer.num_inputs),
        "outFeatures": np.int64(layer.num_neurons),
        "weight": layer.weight.astype(np.float32) * 2**layer.weight_exp,
    }
    if layer.recurrent is None:
        _check_weights(where, layer.weight)
    else:
        if layer.max_delay:
            raise InputError(f"{where} is recurrent and has delays, of which lava-dl's loader takes one alone: train with one of them")
        _check_pair(where, layer.weight, layer.recurrent)
        fields["weight_rec"] = layer.recurrent.astype(np.float32) * 2**layer.weight_exp
    if layer.max_delay:
        fields["delay"] = np.broadcast_to(np.asarray(layer.delays, np.int64), layer.weight.shape).copy()
    return fields if mantissas is None else fields | {"bias": mantissas.astype(np.float32)}


def _check_weights(where: str, weight: np.ndarray) -> None:
    low, high = int(weight.min()), int(weight.max())
    if low == high == 0:
        raise InputError(f"{where}: all weights are 0, which lava-dl cannot scale: leave the layer out, or give it one other weight")
    if high <= 0 and -low & (-low - 1) == 0:
        raise InputError(
            f"{where}: no weight is positive and the lowest is {low}, which lava-dl would clip: "
            f"make it {low + 1 if low < -2 else -3}, or any weight positive"
        )


def _check_pair(where: str, weight: np.ndarray, recurrent: np.ndarray) -> None:
    """InputError where the loader would change weights of a recurrent layer."""
    both = np.hstack([weight, recurrent])
    _check_weights(where, both)
    low, high = int(both.min()), int(both.max())
    # As the loader reckons: how far all of them are shifted.
    room = min(127 / max(high, 1), -128 / min(low, -1))
    shift = int(np.floor(np.log2(room))) + 1
    for name, values in (("weights", weight), ("recurrent weights", recurrent)):
        if values.max() <= 0 and int(values.min()) << shift == -256:
            raise InputError(
                f"{where}: none of its {name} is positive and the lowest is {values.min()}, which lava-dl would clip: "
                f"make it {values.min() + 1}, or any of them positive"
            )


def foreign(group: Tree, recurrent: bool, late: np.ndarray | None) -> tuple[dict[str, Any], np.ndarray | None]:
    """What ``IntegerLayer`` needs of a layer, but for its neurons, and the delays of its outputs.

    Args:
        group: of the layer.
        recurrent: whether it is a "dense_rec".
        late: ``[M]`` delays of the outputs before it, if any.

    Raises:
        InputError: values that no layer has.
    """
    weight = _matrix(group, "weight")
    size, num_inputs = weight.shape
    own = _matrix(group, "weight_rec") if recurrent else np.zeros((size, 0), np.int16)
    if len(own) != size or (recurrent and own.shape[1] != size):
        raise InputError(f"weight_rec is {list(own.shape)} for {size} neurons: give one weight from each to each")
    both, exponent = split_weights(np.hstack([weight, own]))
    bias = whole("bias", part(group, "bias", np.ndarray, "it"), np.int16) if "bias" in group else np.zeros(size, np.int16)
    fields: dict[str, Any] = {"weight": both[:, :num_inputs].copy(), "bias_mant": bias.reshape(-1), "weight_exp": exponent}
    delays, after = _delays(group, size, num_inputs)
    if recurrent:
        if "delay" in group and part(group, "delay", np.ndarray, "it").any():
            raise InputError("it has 'delay' beside 'weight_rec', which lava-dl's loader gives to both: export it with one of them")
        fields["recurrent"] = both[:, num_inputs:].copy()
    if late is not None:
        if len(late) != num_inputs:
            raise InputError(f"it has {num_inputs} inputs, but the layer before it {len(late)} outputs with delays")
        delays = late if delays is None else delays + late
    if delays is not None and delays.any():
        if delays.max() > MAX_DELAY:
            raise InputError(f"a delay is {delays.max()}, but the chip holds a spike back for at most {MAX_DELAY} steps: shorten it")
        fields["delays"] = delays.astype(np.uint8)
    return fields, after


def _delays(group: Tree, num_neurons: int, num_inputs: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Delays of the inputs ``[M]`` and of the outputs ``[N]``; None where there are none."""
    if "delay" not in group:
        return None, None
    delay = whole("delay", part(group, "delay", np.ndarray, "it"), np.uint16).astype(np.int64)
    if delay.size == 1:
        return np.full(num_inputs, int(delay.reshape(-1)[0])), None
    if delay.shape == (num_neurons,):
        return None, delay if delay.any() else None
    if delay.shape == (num_inputs,):
        return delay, None
    if delay.shape == (num_neurons, num_inputs) and (delay == delay[0]).all():
        return delay[0], None
    if delay.shape == (num_neurons, num_inputs):
        raise InputError("its delays differ between synapses of an input, but here an input has one: give each input one delay")
    raise InputError(f"delay is {list(delay.shape)} for {num_neurons} neurons of {num_inputs} inputs: give one an output, or one an input")


def _matrix(group: Tree, name: str) -> np.ndarray:
    weight = whole(name, part(group, name, np.ndarray, "it"), np.int16)
    if weight.ndim == 1:  # lava-dl's loader takes a flattened matrix too
        rows = one_number(group, "shape")
        if rows < 1 or weight.size % rows:
            raise InputError(f"{weight.size} weights for {rows} neurons: give the same number to each")
        weight = weight.reshape(rows, -1)
    if weight.ndim != 2 or not weight.size:
        raise InputError(f"{name} is {list(weight.shape)}: give [outputs, inputs]")
    return weight


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
