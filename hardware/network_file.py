"""The integer network as one safetensors file. Numpy only; nothing is pickled.

Tensors, for layer k from 0: ``layers.k.weight`` [N, M] int8, ``layers.k.vth`` [N] int32, ``layers.k.bias_mant`` [N] int16.
Metadata: ``polystep_snn``, a JSON object with ``schema``, every other field of the network, and ``crc32``, of all of that and of the
tensors. A file is checked from the outside in, and nothing is allocated before its declared sizes are known to be sane.

Schema 1 is that of dense layers. Schema 2 has convolutions too: a layer with the field ``convolution``, an object of ``input_shape``,
``stride`` and ``padding``, has weights [channels, input channels, kernel height, kernel width]. Schema 3 has layers with the field
``weight_exp`` too. Schema 4 has dense layers with recurrent weights and delays: two more tensors, ``layers.k.recurrent`` [N, N] int8 and
``layers.k.delays`` [M] uint8, either of which may be there or not. Schema 5 has what adapting without labels needs too
(``network_file_adapting.py``). A network is written in the oldest one that can hold it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from polystep_snn.checksum import checksum
from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically
from polystep_snn.geometry import Convolution
from polystep_snn.hardware import network_file_adapting as adapting
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork

# Of dense layers alone, of convolutions too, of exponents of weights, of recurrent weights and delays, and of what adapting needs.
DENSE_SCHEMA = 1
_CONVOLUTION_SCHEMA = 2
_EXPONENT_SCHEMA = 3
_MEMORY_SCHEMA = 4
SCHEMA = 5
# Far beyond one chip: 256 MiB hold as many 8-bit synapses as 16 Loihi 2 chips, and the header a few thousand names of classes.
MAX_FILE_BYTES = 2**28
MAX_HEADER_BYTES = 2**20
MAX_LAYERS = 256
# Of a convolution: heights, widths, strides.
MAX_SIZE = 2**31

_KEY = "polystep_snn"
_TENSORS: dict[str, np.dtype] = {"weight": np.dtype(np.int8), "vth": np.dtype(np.int32), "bias_mant": np.dtype(np.int16)}
_OPTIONAL: dict[str, np.dtype] = {"recurrent": np.dtype(np.int8), "delays": np.dtype(np.uint8)}
_SAFETENSORS_NAMES = {"weight": "I8", "vth": "I32", "bias_mant": "I16", "recurrent": "I8", "delays": "U8"}
_NUMBER = (int, float)
_LAYER_FIELDS: dict[str, Any] = {"bias_exp": int, "du": int, "dv": int, "scale": _NUMBER}
_CONVOLUTION_SIZES = {"input_shape": 3, "stride": 2, "padding": 2}
_FIELDS: dict[str, Any] = {
    "schema": int,
    "layers": list,
    "readout": str,
    "num_steps": int,
    "encoder": str,
    "input_shape": list,
    "classes": list,
    "provenance": dict,
    "crc32": int,
}


def save(path: Path, network: IntegerNetwork) -> None:
    """Write a network to ``path``, atomically. The same network gives the same bytes.

    Raises:
        InputError: it is larger than ``load`` accepts, or cannot be written; what stood there before is intact.
    """
    path = Path(path)
    meta: dict[str, Any] = {
        "schema": _schema_of(network),
        "layers": [_fields_of(layer) for layer in network.layers],
        "readout": network.readout,
        "num_steps": int(network.num_steps),
        "encoder": network.encoder,
        "input_shape": [int(size) for size in network.input_shape],
        "classes": list(network.classes),
        "provenance": dict(network.provenance),
        **adapting.fields_of(network),
    }
    tensors: dict[str, np.ndarray] = {
        f"layers.{k}.{name}": np.ascontiguousarray(getattr(layer, name), dtype)
        for k, layer in enumerate(network.layers)
        for name, dtype in (_TENSORS | _OPTIONAL).items()
        if getattr(layer, name) is not None
    } | adapting.tensors_of(network)
    size = sum(tensor.nbytes for tensor in tensors.values())
    if len(network.layers) > MAX_LAYERS or size > MAX_FILE_BYTES - MAX_HEADER_BYTES:
        raise InputError(
            f"the network has {len(network.layers)} layers and {size} bytes: "
            f"a file holds at most {MAX_LAYERS} layers and {MAX_FILE_BYTES - MAX_HEADER_BYTES} bytes"
        )
    # One key: the library writes several in any order, and the same network shall give the same bytes.
    content = safetensors.numpy.save(tensors, {_KEY: json.dumps({**meta, "crc32": checksum(meta, tensors)})})
    if _header_size(content[:8]) > MAX_HEADER_BYTES:
        raise InputError(f"the names of classes and the provenance exceed {MAX_HEADER_BYTES} bytes: shorten them")
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def load(path: Path) -> IntegerNetwork:
    """Read a network from the file ``path``.

    Raises:
        InputError: no such file; a damaged or oversized one; one of another program or of a newer version; values that no
            network has.
    """
    path = Path(path)
    _check_sizes(path)
    try:
        with safe_open(path, framework="np") as file:
            meta = _parse(path, file.metadata() or {})
            convolutions = _check_tensors(path, file, meta)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None
    if meta.pop("crc32") != checksum(meta, tensors):
        raise _damaged(path, "its checksum is another one")
    try:
        return IntegerNetwork(
            layers=tuple(
                IntegerLayer(
                    **{name: tensors[f"layers.{k}.{name}"] for name in (*_TENSORS, *_OPTIONAL) if f"layers.{k}.{name}" in tensors},
                    **(fields | {"convolution": convolution}),
                )
                for k, (fields, convolution) in enumerate(zip(meta["layers"], convolutions, strict=True))
            ),
            readout=meta["readout"],
            num_steps=meta["num_steps"],
            encoder=meta["encoder"],
            input_shape=tuple(meta["input_shape"]),
            classes=tuple(meta["classes"]),
            provenance=meta["provenance"],
            **adapting.parts(meta.get(adapting.FIELD), tensors),
        )
    except InputError as error:
        raise InputError(f"{path} holds no network that can run: {error}") from None


def _fields_of(layer: IntegerLayer) -> dict[str, Any]:
    fields = {"bias_exp": int(layer.bias_exp), "du": int(layer.du), "dv": int(layer.dv), "scale": float(layer.scale)}
    if layer.weight_exp:
        fields["weight_exp"] = int(layer.weight_exp)
    if layer.convolution is None:
        return fields
    return fields | {"convolution": {name: list(getattr(layer.convolution, name)) for name in _CONVOLUTION_SIZES}}


def _schema_of(network: IntegerNetwork) -> int:
    """The oldest that can hold it."""
    if adapting.tensors_of(network):
        return SCHEMA
    if any(getattr(layer, name) is not None for layer in network.layers for name in _OPTIONAL):
        return _MEMORY_SCHEMA
    if any(layer.weight_exp for layer in network.layers):
        return _EXPONENT_SCHEMA
    return DENSE_SCHEMA if all(layer.convolution is None for layer in network.layers) else _CONVOLUTION_SCHEMA


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({' '.join(reason.split())[:200]}): restore it, or export it again")


def _header_size(start: bytes) -> int:
    """Of a safetensors file: a little-endian 64-bit number in front of the header."""
    return int.from_bytes(start, "little")


def _check_sizes(path: Path) -> None:
    """InputError unless it is a file, and it and its header are no larger than any network's."""
    try:
        if not path.exists():
            raise InputError(f"there is no network {path}: export one first, or name another file")
        if not path.is_file():  # a pipe would never end, a device neither
            raise InputError(f"{path} is no file: name a network's file")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name another file") from None
    if size > MAX_FILE_BYTES or (len(start) == 8 and _header_size(start) > MAX_HEADER_BYTES):
        raise _damaged(
            path,
            f"{size} bytes with a header of {_header_size(start)}, a network has at most {MAX_FILE_BYTES} and {MAX_HEADER_BYTES}",
        )


def _parse(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What the metadata says: every field there, and of the type it must have."""
    try:
        meta = json.loads(metadata[_KEY])
        schema = meta["schema"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path} is no network of polystep-snn: name the file of an exported one") from None
    if not isinstance(schema, int) or schema < DENSE_SCHEMA:
        raise _damaged(path, "its schema is no number of one")
    if schema > SCHEMA:
        raise InputError(f"{path} has schema {str(schema)[:20]}, this version reads up to {SCHEMA}: install a newer polystep-snn")
    statistics = {name: dict for name in (adapting.FIELD,) if schema == SCHEMA and name in meta}
    if not _has(meta, _FIELDS | statistics) or (statistics and not adapting.is_field(meta[adapting.FIELD])):
        raise _damaged(path, "its metadata lacks a field, or has one too many")
    if not all(_is_layer(layer, schema) for layer in meta["layers"]):
        raise _damaged(path, "its metadata lacks a field, or has one too many")
    if not 1 <= len(meta["layers"]) <= MAX_LAYERS:
        raise _damaged(path, f"{len(meta['layers'])} layers, a network has 1 to {MAX_LAYERS}")
    if any(isinstance(value, list | dict) for value in (*meta["classes"], *meta["input_shape"], *meta["provenance"].values())):
        raise _damaged(path, "its metadata is nested deeper than a network's")
    return meta


def _has(value: Any, fields: dict[str, Any]) -> bool:
    """Whether it is an object of just these fields and types. JSON's true and false are no numbers here."""
    return (
        isinstance(value, dict)
        and value.keys() == fields.keys()
        and all(isinstance(value[name], kind) and not isinstance(value[name], bool) for name, kind in fields.items())
    )


def _is_layer(value: Any, schema: int) -> bool:
    fields = _LAYER_FIELDS
    if schema >= _EXPONENT_SCHEMA and isinstance(value, dict) and "weight_exp" in value:
        fields = fields | {"weight_exp": int}
    if schema == DENSE_SCHEMA or not isinstance(value, dict) or "convolution" not in value:
        return _has(value, fields)
    convolution = value["convolution"]
    return (
        _has(value, fields | {"convolution": dict})
        and _has(convolution, dict.fromkeys(_CONVOLUTION_SIZES, list))
        and all(len(convolution[name]) == length for name, length in _CONVOLUTION_SIZES.items())
        and all(type(size) is int and 0 <= size <= MAX_SIZE for sizes in convolution.values() for size in sizes)
    )


def _check_tensors(path: Path, file: Any, meta: dict[str, Any]) -> list[Convolution | None]:
    """The layers' convolutions; InputError unless just their tensors are there, in dtypes and shapes that fit. Their data is not read."""
    layers, schema, present = meta["layers"], meta["schema"], set(file.keys())
    if schema == SCHEMA:
        extra = adapting.names_of(meta.get(adapting.FIELD), present)
        if extra is None or any(file.get_slice(name).get_dtype() != "I32" for name in extra):
            raise _damaged(path, "its statistics or input neurons are not those of its metadata")
        present -= extra
    needed = {f"layers.{k}.{name}" for k in range(len(layers)) for name in _TENSORS}
    optional = {f"layers.{k}.{name}" for k in range(len(layers)) for name in _OPTIONAL} if schema >= _MEMORY_SCHEMA else set()
    if not needed <= present <= needed | optional:
        raise _damaged(path, "its tensors are not those of its layers")
    convolutions = []
    for k, layer in enumerate(layers):
        parts = {name: file.get_slice(f"layers.{k}.{name}") for name in (*_TENSORS, *_OPTIONAL) if f"layers.{k}.{name}" in present}
        for name, part in parts.items():
            if part.get_dtype() != _SAFETENSORS_NAMES[name]:
                raise _damaged(path, f"layers.{k}.{name} is {part.get_dtype()} instead of {_SAFETENSORS_NAMES[name]}")
        shapes = {name: part.get_shape() for name, part in parts.items()}
        convolution = _convolution(path, layer, shapes["weight"])
        num_neurons = shapes["weight"][:1] if convolution is None else [convolution.num_neurons]
        dimensions = 2 if convolution is None else 4
        if len(shapes["weight"]) != dimensions or any(shapes[name] != num_neurons for name in ("vth", "bias_mant")):
            raise _damaged(path, f"the tensors of layer {k} have shapes {list(shapes.values())}")
        wanted = {"recurrent": num_neurons * 2, "delays": shapes["weight"][1:]}
        for name in _OPTIONAL:
            # A convolution has neither, which the layer itself says.
            if name in shapes and convolution is None and shapes[name] != wanted[name]:
                raise _damaged(path, f"layers.{k}.{name} has shape {shapes[name]} instead of {wanted[name]}")
        convolutions.append(convolution)
    return convolutions


def _convolution(path: Path, layer: dict[str, Any], weight_shape: list[int]) -> Convolution | None:
    """What a layer's fields and the shape of its weights say of it."""
    if "convolution" not in layer:
        return None
    if len(weight_shape) != 4:
        raise _damaged(path, f"the weights of a convolution have shape {weight_shape}")
    input_shape, stride, padding = (tuple(layer["convolution"][name]) for name in _CONVOLUTION_SIZES)
    try:
        convolution = Convolution(input_shape, weight_shape[0], (weight_shape[2], weight_shape[3]), stride, padding).checked()
    except InputError as error:
        raise InputError(f"{path} holds no network that can run: {error}") from None
    if convolution.weight_shape != tuple(weight_shape):
        raise _damaged(path, f"the weights of a convolution of {list(input_shape)} have shape {weight_shape}")
    return convolution
