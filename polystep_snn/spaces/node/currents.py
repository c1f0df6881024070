"""What a layer receives: its weights times what arrives, with the batch innermost."""

import torch
from torch import Tensor

from polystep_snn.engine.products import goes_to_onednn
from polystep_snn.snn.wiring import Wiring


def currents(wiring: Wiring, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """What a layer receives in each of U steps, ``[U, M, B]``, of ``x [U, N, B]``, with a bias ``[M]``."""
    if wiring.convolution is not None:
        geometry, arriving = wiring.convolution, wiring.summed(x.transpose(1, 2))
        shape, stride, padding = list(geometry.input_shape), list(geometry.stride), list(geometry.padding)
        return torch.ops.polystep_snn.convolve(arriving, weight, shape, stride, padding) + bias[:, None]
    if not wiring.is_matrix:
        return multiply(wiring, weight, x).contiguous() + bias[:, None]
    if goes_to_onednn(weight, x[0].T):
        if len(x) == 1:
            return (torch.ops.polystep_snn.linear(weight, x[0].T) + bias[:, None])[None]
        return torch.stack([torch.ops.polystep_snn.linear(weight, step.T) for step in x.unbind()]) + bias[:, None]
    # The bias inside the product, not after it: fused into what comes next it would be added again for every probe.
    return torch.stack([torch.addmm(bias[:, None], weight, step) for step in x.unbind()])


def multiply(wiring: Wiring, weight: Tensor, x: Tensor) -> Tensor:
    """A layer's weights times ``x [..., N, B]``: ``[..., M, B]``."""
    if wiring.is_matrix:
        return torch.matmul(weight, x)
    return wiring.multiply(weight, x.transpose(-1, -2)).transpose(-1, -2)
