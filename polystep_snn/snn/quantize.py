r"""The int8 grid: from latent float weights to the integers that a network computes with.

Per layer::

    scale = max |W| / 127                             of input and recurrent weights together: the chip has one unit for both
    w     = round(W / scale)                          int8, -127 to 127
    vth   = round(v_th / scale)                       17 bits, at least 1
    bias  = round(64 b / scale / 2^e) 2^e             13-bit mantissa, exponent e = 6, or 7 where the largest bias needs it

With e = 6 a bias is a whole number of weights, the only ones that lava-dl's format knows.

Every forward pass is computed on the grid, training's included; what an optimizer moves are the latent weights. Nothing passes a
gradient through the rounding, since nobody differentiates.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.loihi import ALIGNMENT, LARGEST_VTH

_LARGEST_WEIGHT = 127
_BIAS_MANTISSA = 2**12
_BIAS_STEP = 64
# Weighted sums times 64, and half the range of the current they are added to, must stay integers in float32.
_LARGEST_ROW = 2**17


class IntegerWeights(NamedTuple):
    """A layer on the grid; whole numbers in the dtype of the latent weights.

    Attributes:
        weight: as the latent ones, -127 to 127.
        vth: scalar, 1 to 2^17 - 1.
        bias_mant: as the latent biases, -4096 to 4095.
        bias_step: scalar, 2^e: 64 or 128.
        scale: scalar, the size of one unit of weight.
        recurrent: as the latent ones, -127 to 127; None where there are none.
    """

    weight: Tensor
    vth: Tensor
    bias_mant: Tensor
    bias_step: Tensor
    scale: Tensor
    recurrent: Tensor | None = None

    @property
    def bias(self) -> Tensor:
        """In the shape of the latent biases, in the units of the membrane's register."""
        return self.bias_mant * self.bias_step


def quantize(weight: Tensor, bias: Tensor, v_th: float | None, recurrent: Tensor | None = None) -> IntegerWeights:
    """A layer's latent parameters on the grid.

    Args:
        weight: ``[N, M]``, or a convolution's.
        bias: one for each entry of its first dimension, in the same units.
        v_th: threshold in these units; None for neurons that integrate, whose threshold is the largest there is.
        recurrent: ``[N, N]``, in these units; None where there are none.
    """
    largest = weight.abs().amax()
    if recurrent is not None:
        largest = torch.maximum(largest, recurrent.abs().amax())
    # A layer of zeros stays one.
    scale = (largest / _LARGEST_WEIGHT).clamp(min=torch.finfo(weight.dtype).tiny * 2**40)
    vth = torch.full_like(scale, LARGEST_VTH) if v_th is None else (v_th / scale).round().clamp(1, LARGEST_VTH)
    register = bias * (ALIGNMENT / scale)
    step = _BIAS_STEP * (1 + (register.abs().amax() > (_BIAS_MANTISSA - 1) * _BIAS_STEP).to(weight.dtype))
    mantissa = (register / step).round().clamp(-_BIAS_MANTISSA, _BIAS_MANTISSA - 1)
    rounded = None if recurrent is None else (recurrent / scale).round()
    return IntegerWeights((weight / scale).round(), vth, mantissa, step, scale, rounded)


def check_rows(layers: list[tuple[IntegerWeights, int]]) -> None:
    """InputError where a layer's sums could leave the integers of float32.

    Args:
        layers: their weights, and how many inputs share each of them.
    """
    for k, (layer, shared) in enumerate(layers):
        # In whatever order they are added, partial sums lie between that of the negative and that of the positive weights.
        weight = shared * layer.weight.flatten(1)
        if layer.recurrent is not None:
            weight = torch.cat([weight, layer.recurrent], 1)
        largest = int(max(weight.clamp(min=0).sum(1).max(), -weight.clamp(max=0).sum(1).min()))
        if largest > _LARGEST_ROW:
            raise InputError(
                f"the weights of a neuron in layer {k} add up to {largest}, more than {_LARGEST_ROW}: its sums may not be exact in "
                "float32; use fewer inputs"
            )
