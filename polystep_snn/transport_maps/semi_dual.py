"""The Kantorovich dual of one potential, and its training.

For the cost ``|x - z|^2 / 2`` the dual problem is, but for terms of x or z alone, to minimize over convex u::

    E u(x) + E u*(z),    u*(z) = max_y <y, z> - u(y)

(Brenier 1991; the semi-dual of Cuturi and Peyré 2016). At the maximum y* the derivative of u* in the weights is that of ``-u(y*)`` with
y* held (envelope theorem): no iteration that found y* is differentiated, or remembered.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from polystep_snn.transport_maps.convex import ConvexNetwork
from polystep_snn.transport_maps.proximal import ConvergenceError, solve
from polystep_snn.transport_maps.settings import PotentialSettings

# The curvature changes slowly: it is measured every few steps, at some of the points.
_CURVATURE_STEPS = 10
_CURVATURE_POINTS = 128
_POWER_ITERATIONS = 6


def dual(network: ConvexNetwork, x: Tensor, z: Tensor, labels: Tensor, y: Tensor) -> Tensor:
    """``mean u(x) + mean u*(z)``, to be minimized.

    Args:
        network: u.
        x, z: samples of source and target, ``[B, d]``.
        labels: of both, ``[B]``.
        y: where ``u*(z)`` has its maximum, ``[B, d]``; held.
    """
    at_x, at_y = network(torch.cat([x, y.detach()]), labels.repeat(2)).split(len(x))
    return at_x.mean() + ((y.detach() * z).sum(1) - at_y).mean()


@dataclass(frozen=True)
class Training:
    """What happened in training.

    Attributes:
        unconverged_steps: in which a proximal point missed the training tolerance.
        mean_iterations: of a proximal point, over points and steps.
    """

    unconverged_steps: int
    mean_iterations: float


class Batches:
    """Pairs of batches in which the labels are the same, and as frequent as in the source. Samples are drawn with replacement.

    A label that is more frequent in one distribution than in the other would make the dual unbounded.

    Args:
        x_labels, z_labels: of all samples.
        generator: what samples are drawn from.
    """

    def __init__(self, x_labels: Tensor, z_labels: Tensor, generator: torch.Generator):
        self._labels, self._generator = x_labels, generator
        self._counts = torch.bincount(z_labels)
        self._order, self._first = z_labels.argsort(), self._counts.cumsum(0) - self._counts

    def draw(self, size: int) -> tuple[Tensor, Tensor]:
        """Indices into the source and into the target, ``[size]`` each."""
        x = torch.randint(len(self._labels), (size,), generator=self._generator)
        labels = self._labels[x]
        place = torch.rand(size, dtype=torch.float64, generator=self._generator) * self._counts[labels]
        return x, self._order[self._first[labels] + place.long()]


def train(network: ConvexNetwork, x: Tensor, x_labels: Tensor, z: Tensor, z_labels: Tensor, settings: PotentialSettings) -> Training:
    """Minimize the dual over samples, with Adam.

    Args:
        network: u, changed in place.
        x, z: ``[N, d]`` and ``[M, d]``.
        x_labels, z_labels: ``[N]`` and ``[M]``.
        settings: how.

    Raises:
        ConvergenceError: weights that are no longer finite.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    batches = Batches(x_labels, z_labels, torch.Generator().manual_seed(settings.seed))
    # Where the iteration for each sample of the target ended last time is where it starts next time.
    ends, curvature, unconverged, iterations = z.clone(), 1.0, 0, 0.0
    for step in range(settings.steps):
        i, j = batches.draw(settings.batch_size)
        labels = x_labels[i]
        if step % _CURVATURE_STEPS == 0:
            some = torch.cat([x[i[:_CURVATURE_POINTS]], ends[j[:_CURVATURE_POINTS]]])
            curvature = network.largest_curvature(some, torch.cat([labels[:_CURVATURE_POINTS]] * 2), _POWER_ITERATIONS)
            if not 0 < curvature < float("inf"):
                raise ConvergenceError(f"the potential is not finite any more at step {step}: choose a smaller learning_rate")
        found = solve(network, z[j], labels, ends[j], curvature, settings.training_tolerance, settings.max_iterations)
        ends[j] = found.points
        unconverged += not bool(found.converged.all())
        iterations += float(found.iterations.double().mean())
        optimizer.zero_grad(set_to_none=True)
        dual(network, x[i], z[j], labels, found.points).backward()
        optimizer.step()
        schedule.step()
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise ConvergenceError("the potential is not finite any more at the last step: choose a smaller learning_rate")
    return Training(unconverged, iterations / settings.steps)
