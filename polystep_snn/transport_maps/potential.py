"""One potential, both maps."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.transport_maps import store
from polystep_snn.transport_maps.convex import ConvexNetwork
from polystep_snn.transport_maps.coordinates import Coordinates, coordinates
from polystep_snn.transport_maps.proximal import ConvergenceError, Solution, solve
from polystep_snn.transport_maps.samples import Samples, checked_labels, draw, points
from polystep_snn.transport_maps.semi_dual import train
from polystep_snn.transport_maps.settings import PotentialSettings

# Points at which the curvature is measured, and products with the Hessian, before proximal points are computed.
_CURVATURE_POINTS, _POWER_ITERATIONS = 512, 10
# Samples of each distribution that a report is made of.
_REPORTED = 10_000


@dataclass(frozen=True)
class Report:
    """How well a potential solves its problem.

    Attributes:
        converged: whether all proximal points reached the tolerance.
        residual: the largest of them, in units of the distributions' spread.
        mean_iterations, max_iterations: of a proximal point.
        primal: ``E |x - T(x)|^2 / 2``.
        dual: the value of the Kantorovich dual, which is at most half the squared Wasserstein distance, but for what samples leave open.
        gap: primal - dual. It is 0 where T is the optimal map. Below 0 T misses the target.
        gap_error: its standard error, from the number of samples.
        steps, seconds, unconverged_steps, mean_training_iterations: of the training; steps in which a proximal point missed the
            training tolerance.
    """

    converged: bool
    residual: float
    mean_iterations: float
    max_iterations: int
    primal: float
    dual: float
    gap: float
    gap_error: float
    steps: int
    seconds: float
    unconverged_steps: int
    mean_training_iterations: float


class _Labelled(NamedTuple):
    points: Tensor
    labels: Tensor


class PotentialMap:
    """The gradient of a convex network that solves the Kantorovich dual; its inverse comes from the same network.

    ``map`` is the gradient of the potential u, ``inverse`` the proximal point at which that gradient is the given point. There is no second
    network and no adversary: u* in the dual is a proximal fixed point that is not differentiated (Park et al. 2026, "Implicit neural
    optimal transport via fixed-point optimization", arXiv 2605.10792). The network works in coordinates in which the linear map
    is the identity (``coordinates="linear"``), so that it has only the rest to learn. Samples should be many: a network fits what few
    samples have by chance.

    Args:
        settings: any of ``PotentialSettings``, by name, such as ``num_labels=10``, ``widths=(128, 128)``, ``steps=3000``.

    Attributes:
        report: of ``fit``, on samples that it has seen; ``evaluate`` makes one from others.

    Raises:
        InputError: a setting that does not exist or is out of range.
    """

    settings: PotentialSettings
    report: Report
    _coordinates: Coordinates
    _network: ConvexNetwork

    def __init__(self, **settings: Any):
        unknown = sorted(set(settings) - set(PotentialSettings.__dataclass_fields__))
        if unknown:
            raise InputError(f"there is no setting {unknown[0]}: choose among {', '.join(PotentialSettings.__dataclass_fields__)}")
        self.settings = PotentialSettings(**settings)

    def fit(
        self,
        source: Samples,
        target: Samples,
        source_labels: Tensor | np.ndarray | None = None,
        target_labels: Tensor | np.ndarray | None = None,
    ) -> "PotentialMap":
        """Train the potential. It computes in the precision of the source's samples. ``report`` says how it went.

        Args:
            source, target: ``[N, d]`` and ``[M, d]``, or functions that draw N samples, alone or with their labels ``[N]``.
            source_labels, target_labels: ``[N]`` and ``[M]`` whole numbers below ``num_labels``, where that is more than 1.

        Returns:
            This map.

        Raises:
            InputError: values that are not finite, shapes that differ, too few samples (also of a label), a singular covariance.
            ConvergenceError: weights that are no longer finite.
        """
        began = time.perf_counter()
        x, z = self._pair(source, target, source_labels, target_labels)
        frame = coordinates(self.settings.coordinates, x.points.double(), x.labels, z.points.double(), z.labels, self.settings.num_labels)
        frame = Coordinates(*(part.to(x.points.dtype) for part in frame))
        network = ConvexNetwork(
            x.points.shape[1],
            self.settings.widths,
            self.settings.num_labels,
            self.settings.floor,
            torch.Generator().manual_seed(self.settings.seed),
        ).to(x.points.dtype)
        record = train(network, frame.of_source(*x), x.labels, frame.of_target(*z), z.labels, self.settings)
        self._coordinates, self._network = frame, network.requires_grad_(False)
        some = (_Labelled(values[:_REPORTED], labels[:_REPORTED]) for values, labels in (x, z))
        self.report = self._report(
            *some,
            steps=self.settings.steps,
            seconds=round(time.perf_counter() - began, 3),
            unconverged_steps=record.unconverged_steps,
            mean_training_iterations=round(record.mean_iterations, 3),
        )
        return self

    def map(self, x: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> Tensor:
        """Points of the source where the target has them.

        Args:
            x: ``[B, d]``.
            labels: ``[B]``, where the map has labels.

        Returns:
            ``[B, d]``, in the precision of the map.

        Raises:
            InputError: points or labels that are not like those of ``fit``.
        """
        given = self._points("x", x, labels)
        inner = self._network.gradient(self._coordinates.of_source(*given), given.labels)
        return self._coordinates.to_target(inner, given.labels)

    def inverse(self, z: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> Tensor:
        """Points z of the target where the source has them: ``[B, d]`` and labels ``[B]`` to ``[B, d]``.

        Raises:
            InputError: points or labels that are not like those of ``fit``.
            ConvergenceError: a point that did not reach the tolerance; ``solve`` returns what there is.
        """
        found = self.solve(z, labels)
        if not found.converged.all():
            count, worst = int((~found.converged).sum()), float(found.residual.max())
            raise ConvergenceError(
                f"{count} of {len(found.points)} points have not reached the tolerance {self.settings.tolerance:g} after "
                f"{self.settings.max_iterations} iterations (the largest residual is {worst:.1e}): allow more of either, or fit in float64"
            )
        return found.points

    def solve(self, z: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> Solution:
        """As ``inverse``, with the residual, the iterations and a flag for each point, and without an error where they fall short.

        Args:
            z: ``[B, d]``.
            labels: ``[B]``, as of ``fit``.
        """
        given = self._points("z", z, labels)
        found = self._solve(self._coordinates.of_target(*given), given.labels)
        return found._replace(points=self._coordinates.to_source(found.points, given.labels))

    def potential(self, x: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> Tensor:
        """u at points x of the source, ``[B, d]`` to ``[B]``; its gradient is ``map``. ``labels`` are ``[B]``."""
        given = self._points("x", x, labels)
        linear = (given.points * self._coordinates.target_mean[given.labels]).sum(1)
        return self._coordinates.scale**2 * self._network(self._coordinates.of_source(*given), given.labels) + linear

    def evaluate(
        self,
        source: Samples,
        target: Samples,
        source_labels: Tensor | np.ndarray | None = None,
        target_labels: Tensor | np.ndarray | None = None,
    ) -> Report:
        """Residuals and the duality gap on samples, best on others than those of ``fit``.

        Args:
            source, target: as of ``fit``.
            source_labels, target_labels: as of ``fit``.

        Raises:
            InputError: as of ``fit``.
        """
        self._fitted()
        training = {name: getattr(self.report, name) for name in ("steps", "seconds", "unconverged_steps", "mean_training_iterations")}
        dtype = self._coordinates.scale.dtype
        pair = (given._replace(points=given.points.to(dtype)) for given in self._pair(source, target, source_labels, target_labels))
        return self._report(*pair, **training)

    def save(self, path: Path) -> None:
        """Write the map to ``path`` as safetensors. Raises InputError where it cannot be written."""
        self._fitted()
        tensors = {f"network.{name}": tensor for name, tensor in self._network.state_dict().items()}
        tensors |= {f"coordinates.{name}": tensor for name, tensor in self._coordinates._asdict().items()}
        store.save(path, "PotentialMap", tensors, {"settings": asdict(self.settings), "report": asdict(self.report)})

    @classmethod
    def load(cls, path: Path) -> "PotentialMap":
        """The map that ``save`` wrote to ``path``. Raises InputError for a file that is damaged or something else."""
        tensors, meta = store.load(path, "PotentialMap")
        try:
            found = cls(**meta["settings"])
            found.report = Report(**meta["report"])
            dim = tensors["coordinates.source_mean"].shape[-1]
            settings = found.settings
            network = ConvexNetwork(dim, settings.widths, settings.num_labels, settings.floor, torch.Generator())
            found._network = network.to(tensors["coordinates.source_mean"].dtype).requires_grad_(False)
            found._network.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("network.")})
            found._coordinates = Coordinates(*(tensors[f"coordinates.{name}"] for name in Coordinates._fields))
        except (KeyError, TypeError, IndexError, RuntimeError, InputError) as error:
            raise store.damaged(path, str(error) if not isinstance(error, KeyError) else f"{error} is missing") from None
        shapes = [list(part.shape) for part in found._coordinates]
        labels = settings.num_labels
        if shapes != [[labels, dim], [labels, dim], [labels, dim, dim], [labels, dim, dim], [1]]:
            raise store.damaged(path, f"its coordinates have shapes {json.dumps(shapes)}")
        return found

    def _fitted(self) -> None:
        if not hasattr(self, "_network"):
            raise InputError("this PotentialMap has seen no samples: call fit first")

    def _points(self, name: str, values: Tensor | np.ndarray, labels: Tensor | np.ndarray | None) -> _Labelled:
        self._fitted()
        found = points(name, values, self._coordinates.source_mean.shape[1], self._coordinates.scale.dtype)
        return _Labelled(found, checked_labels(name, labels, len(found), self.settings.num_labels))

    def _pair(self, source: Samples, target: Samples, source_labels: Any, target_labels: Any) -> tuple[_Labelled, _Labelled]:
        found = []
        for name, samples, given in (("source", source, source_labels), ("target", target, target_labels)):
            values, drawn = draw(name, samples, self.settings.num_drawn)
            labels = checked_labels(name, given if drawn is None else drawn, len(values), self.settings.num_labels)
            found.append(_Labelled(values, labels))
        dim = found[0].points.shape[1]
        return found[0], found[1]._replace(points=points("target", found[1].points, dim, found[0].points.dtype))

    def _solve(self, z: Tensor, labels: Tensor) -> Solution:
        """In the inner coordinates."""
        curvature = self._network.largest_curvature(z[:_CURVATURE_POINTS], labels[:_CURVATURE_POINTS], _POWER_ITERATIONS)
        return solve(self._network, z, labels, z, curvature, self.settings.tolerance, self.settings.max_iterations)

    def _report(self, x: _Labelled, z: _Labelled, **training: Any) -> Report:
        frame = self._coordinates
        inner_z = frame.of_target(*z)
        solution = self._solve(inner_z, z.labels)
        y = frame.to_source(solution.points, z.labels)
        # The two Kantorovich potentials of the cost |x - z|^2 / 2, of x and of z.
        primal = (x.points - self.map(*x)).double().square().sum(1) / 2
        of_x = x.points.double().square().sum(1) / 2 - self.potential(*x).double()
        conjugate = (y * z.points).double().sum(1) - self.potential(y, z.labels).double()
        of_z = z.points.double().square().sum(1) / 2 - conjugate
        # Labels count as often as in the source.
        frequency = [torch.bincount(labels, minlength=self.settings.num_labels).double() / len(labels) for _, labels in (x, z)]
        of_z = of_z * (frequency[0] / frequency[1].clamp_min(1e-300))[z.labels]
        dual = float(of_x.mean() + of_z.mean())
        left = primal - of_x
        error = math.sqrt(float(left.var(unbiased=False)) / len(left) + float(of_z.var(unbiased=False)) / len(of_z))
        return Report(
            converged=bool(solution.converged.all()),
            residual=float(solution.residual.max()),
            mean_iterations=round(float(solution.iterations.double().mean()), 3),
            max_iterations=int(solution.iterations.max()),
            primal=float(primal.mean()),
            dual=dual,
            gap=float(primal.mean()) - dual,
            gap_error=error,
            **training,
        )
