"""Matrix products with the batch innermost.

Large ones in float32 on a CPU go through oneDNN: the BLAS that torch calls by default takes twice as long on CPUs that are not
its maker's, and no less on those that are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polystep_snn.engine.threads import split

# Below about this many multiplications oneDNN's setup costs more than it gains.
_WORTHWHILE = 2**20
_HAS_ONEDNN = torch.backends.mkldnn.is_available()

_library = torch.library.Library("polystep_snn", "DEF")
_library.define("linear(Tensor x, Tensor weight) -> Tensor")


# The compiler knows the op behind it for constant weights only; under a name of our own it leaves it alone.
def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


_library.impl("linear", _linear, "CPU")


@torch.library.register_fake("polystep_snn::linear")
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight))


# The compiler would take a convolution's result with its channels innermost into all that follows, a number at a time: behind a name of our
# own it comes as everything else does.
_library.define("convolve(Tensor x, Tensor weight, int[] shape, int[] stride, int[] padding) -> Tensor")


def _convolve(x: Tensor, weight: Tensor, shape: list[int], stride: list[int], padding: list[int]) -> Tensor:
    maps = torch.nn.functional.conv2d(x.reshape(-1, *shape), weight, None, stride, padding)
    return maps.reshape(*x.shape[:-1], -1).transpose(-1, -2).contiguous()


_library.impl("convolve", _convolve, "CompositeExplicitAutograd")


@torch.library.register_fake("polystep_snn::convolve")
def _(x: Tensor, weight: Tensor, shape: list[int], stride: list[int], padding: list[int]) -> Tensor:
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:], weight.shape[2:], stride, padding, strict=True)]
    return x.new_empty(*x.shape[:-2], len(weight) * sizes[0] * sizes[1], x.shape[-2])


def goes_to_onednn(left: Tensor, right: Tensor) -> bool:
    """Whether oneDNN multiplies ``left [M, N]`` with the transpose of ``right [B, N]``."""
    large = left.numel() * right.shape[0] >= _WORTHWHILE
    return large and left.device.type == "cpu" and left.dtype == torch.float32 and _HAS_ONEDNN


_onednn: Any = torch.ops.mkldnn._linear_pointwise.default if _HAS_ONEDNN else None
# Rows or columns that are worth a thread, in products of so many multiplications.
_GRAIN, _WORTH_THREADS = 16, 2**25


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left [M, N]`` times ``right [N, B]``, for whoever is not compiled by torch; a number is the same for any number of threads."""
    if not goes_to_onednn(left, right.T):
        return torch.mm(left, right)
    tall = left.shape[0] >= right.shape[1]
    count = left.shape[0] if tall else right.shape[1]

    def part(first: int, behind: int) -> Tensor:
        some_left, some_right = left, right
        if behind - first < count:
            # oneDNN is a thousand times slower where neither rows nor columns are dense.
            some_left, some_right = (left[first:behind], right) if tall else (left, _dense(right[:, first:behind]))
        return _onednn(some_left, some_right.T, None, "none", [], "")

    return _in_parts(part, count, left.numel() * right.shape[1], 0 if tall else 1)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x [B, N]`` times weights ``[M, N]``, and biases ``[M]``: ``[B, M]``, as ``product``."""
    if not goes_to_onednn(x, weight):
        return torch.addmm(bias, x, weight.T)

    def part(first: int, behind: int) -> Tensor:
        return _onednn(x[first:behind], weight, bias, "none", [], "")

    return _in_parts(part, x.shape[0], x.numel() * weight.shape[0], 0)


def _in_parts(part: Callable[[int, int], Tensor], count: int, multiplications: int, dim: int) -> Tensor:
    """``part(0, count)``, or several parts side by side along a dimension."""
    parts: dict[int, Tensor] = {}

    def compute(first: int, behind: int) -> None:
        parts[first] = part(first, behind)

    split(compute, count, grain=count if multiplications < _WORTH_THREADS else _GRAIN)
    return parts[0] if len(parts) == 1 else torch.cat([parts[first] for first in sorted(parts)], dim)


def _dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() or x.T.is_contiguous() else x.contiguous()


def outer(left: Tensor, right: Tensor) -> Tensor:
    """``left [M, B]`` times ``right [B, N]``: a sum of outer products over the batch."""
    return torch.ops.polystep_snn.linear(left, right.T) if goes_to_onednn(left, right.T) else torch.mm(left, right)
