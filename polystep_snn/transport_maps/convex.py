"""A convex function of a point, and of a label: the potential, its gradient and its curvature.

An input-convex network (Amos, Xu and Kolter 2017, "Input convex neural networks", arXiv 1609.07152) beside a learned quadratic::

    u(x, c) = (floor |x|^2 + |B x|^2) / 2 + <v_c, x> + <w, h_K>
    h_1 = softplus(A_1 x + b_1c),    h_k = softplus(W_k h_{k-1} + A_k x + b_kc),    W_k >= 0, w >= 0

``floor`` > 0 makes u strongly convex: every vector is the gradient at one point and no other. B starts at sqrt(1 - floor) times the
identity, v at zero, the rest at random.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everywhere)

# Found on validation pairs (benchmarks/transport.py): softplus functions that are sharp and bend at different places learn fastest.
_SHARPNESS = 2.0
_BENDS = 3.0
_START_OF_OUTPUT = math.log(math.expm1(0.1))


class ConvexNetwork(nn.Module):
    """A function that is strongly convex in x for every label.

    Args:
        dim: d, coordinates of a point.
        widths: of the hidden layers.
        num_labels: how many labels there are; 1 where points have none.
        floor: the smallest curvature, in (0, 1).
        generator: what the weights are drawn from.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], num_labels: int, floor: float, generator: torch.Generator):
        super().__init__()
        self.floor = floor

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def even(width: int) -> Tensor:
            return _BENDS * (2 * torch.rand(width, generator=generator) - 1)

        self.quadratic = nn.Parameter(math.sqrt(1 - floor) * torch.eye(dim))
        self.linear = nn.Parameter(torch.zeros(num_labels, dim))
        self.inputs = nn.ParameterList([_SHARPNESS / math.sqrt(dim) * normal(width, dim) for width in widths])
        self.biases = nn.ParameterList([even(width).repeat(num_labels, 1) for width in widths])
        # Weights are softplus of these, so near their exponential: a layer starts as a mean of the one before.
        self.hidden = nn.ParameterList([0.5 * normal(wide, narrow) - math.log(narrow) for narrow, wide in pairwise(widths)])
        self.output = nn.Parameter(torch.full((widths[-1],), _START_OF_OUTPUT))

    def _layers(self, x: Tensor, labels: Tensor) -> list[Tensor]:
        """What every hidden layer receives, before its softplus: ``[B, width]`` each."""
        found = [x @ self.inputs[0].T + self.biases[0][labels]]
        for weights, inputs, biases in zip(self.hidden, list(self.inputs)[1:], list(self.biases)[1:], strict=True):
            found.append(F.softplus(found[-1]) @ F.softplus(weights).T + x @ inputs.T + biases[labels])
        return found

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """u.

        Args:
            x: ``[B, d]``.
            labels: ``[B]`` int64.

        Returns:
            ``[B]``.
        """
        quadratic = self.floor * x.square().sum(1) + (x @ self.quadratic.T).square().sum(1)
        network = F.softplus(self._layers(x, labels)[-1]) @ F.softplus(self.output)
        return quadratic / 2 + (self.linear[labels] * x).sum(1) + network

    def gradient(self, x: Tensor, labels: Tensor) -> Tensor:
        """The gradient of u in x, in closed form: ``[B, d]`` and labels ``[B]`` to ``[B, d]``."""
        layers = self._layers(x, labels)
        found = self.floor * x + self.linear[labels] + x @ (self.quadratic.T @ self.quadratic)
        slopes = torch.sigmoid(layers[-1]) * F.softplus(self.output)
        for k in range(len(layers) - 1, 0, -1):
            found = found + slopes @ self.inputs[k]
            slopes = slopes @ F.softplus(self.hidden[k - 1]) * torch.sigmoid(layers[k - 1])
        return found + slopes @ self.inputs[0]

    def largest_curvature(self, x: Tensor, labels: Tensor, iterations: int) -> float:
        """The largest eigenvalue of the Hessian at any of some points, from below: a power iteration at each of them.

        Args:
            x, labels: ``[B, d]`` and ``[B]``.
            iterations: of the power iteration, each a product with the Hessian.
        """
        x = x.detach().requires_grad_()
        slopes = self.gradient(x, labels)
        # Not a coordinate axis, and the same at every call.
        direction = (1 + torch.linspace(0, 1, x.shape[1], dtype=x.dtype)).expand_as(x)
        for _ in range(iterations):
            direction = direction / direction.norm(dim=1, keepdim=True)
            # The Hessian is symmetric: the gradient of <grad u, v> is its product with v.
            (direction,) = torch.autograd.grad(slopes, x, direction, retain_graph=True)
        return float(direction.norm(dim=1).max())
