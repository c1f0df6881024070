"""The proximal fixed point and the dual, slow and obvious: autograd for every gradient, a step that stays, all iterations in the graph."""

import torch
from torch import Tensor


def gradient(network, x: Tensor, labels: Tensor, create_graph: bool = False) -> Tensor:
    """Of the potential in x."""
    x = x if x.requires_grad else x.detach().requires_grad_()
    return torch.autograd.grad(network(x, labels).sum(), x, create_graph=create_graph)[0]


def proximal_point(network, z: Tensor, labels: Tensor, curvature: float, iterations: int) -> Tensor:
    """``y <- y - (grad u(y) - z) / L``; what comes back can be differentiated through all of it."""
    y = z.detach().requires_grad_()
    for _ in range(iterations):
        y = y - (gradient(network, y, labels, create_graph=True) - z) / curvature
    return y


def dual(network, x: Tensor, z: Tensor, labels: Tensor, y: Tensor) -> Tensor:
    """``mean u(x) + mean (<y, z> - u(y))``, y not held."""
    return network(x, labels).mean() + ((y * z).sum(1) - network(y, labels)).mean()
