"""One checksum for all files of tensors with a JSON object; safetensors itself checks no more than its header's form."""

import json
import zlib
from typing import Any

import numpy as np


def checksum(meta: Any, tensors: dict[str, np.ndarray]) -> int:
    """CRC-32 of a JSON object and of the names, types, shapes and bytes of tensors."""
    total = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        total = zlib.crc32(f"{name} {tensor.dtype.name} {list(tensors[name].shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(np.uint8).data, total)
    return total
