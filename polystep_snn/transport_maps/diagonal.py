"""A gain and an offset for every coordinate: optimal transport between Gaussians that do not know each other."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.transport_maps import store
from polystep_snn.transport_maps.samples import Samples, pair, points


class DiagonalMap:
    """Maps each coordinate from the mean and deviation that it has in the source to those that it has in the target::

        T(x) = gain x + offset,    gain = deviation of target / deviation of source,    offset = mean of target - gain mean of source

    This is the optimal map between two Gaussians in one dimension (Peyré and Cuturi 2019, "Computational optimal transport", remark 2.30).
    For a neuron it is a new threshold and a new bias.

    Attributes:
        gain, offset: ``[d]`` float64.
    """

    gain: Tensor
    offset: Tensor

    def fit(self, source: Samples, target: Samples) -> "DiagonalMap":
        """Take means and deviations from samples.

        Args:
            source, target: ``[N, d]`` and ``[M, d]``, or functions that draw N samples; the numbers may differ.

        Returns:
            This map.

        Raises:
            InputError: values that are not finite, shapes that differ, fewer than 2 samples, a coordinate that does not vary.
        """
        x, z = pair(source, target)
        deviations = [_deviations(name, values) for name, values in (("source", x), ("target", z))]
        self.gain = deviations[1] / deviations[0]
        self.offset = z.mean(0) - self.gain * x.mean(0)
        return self

    def map(self, x: Tensor | np.ndarray) -> Tensor:
        """Points of the source where the target has them: ``[B, d]`` to ``[B, d]``, in the same precision."""
        x = points("x", x, len(self._fitted().gain))
        return x * self.gain.to(x.dtype) + self.offset.to(x.dtype)

    def inverse(self, z: Tensor | np.ndarray) -> Tensor:
        """Points z of the target where the source has them: ``[B, d]`` to ``[B, d]``."""
        z = points("z", z, len(self._fitted().gain))
        return (z - self.offset.to(z.dtype)) / self.gain.to(z.dtype)

    def save(self, path: Path) -> None:
        """Write the map to ``path`` as safetensors. Raises InputError where it cannot be written."""
        store.save(path, "DiagonalMap", {"gain": self._fitted().gain, "offset": self.offset}, {})

    @classmethod
    def load(cls, path: Path) -> "DiagonalMap":
        """The map that ``save`` wrote to ``path``. Raises InputError for a file that is damaged or something else."""
        tensors, _ = store.load(path, "DiagonalMap")
        (dim,) = store.sizes(path, tensors, {"gain": ("d",), "offset": ("d",)}, "d")
        found = cls()
        found.gain, found.offset = tensors["gain"], tensors["offset"]
        if not dim or not (found.gain > 0).all():
            raise store.damaged(path, "a gain is not positive")
        return found

    def _fitted(self) -> "DiagonalMap":
        if not hasattr(self, "gain"):
            raise InputError("this DiagonalMap has seen no samples: call fit first")
        return self


def _deviations(name: str, x: Tensor) -> Tensor:
    if len(x) < 2:
        raise InputError(f"{name} has 1 sample: give at least 2")
    found = x.std(0)
    # What rounding leaves of a constant is not a spread.
    constant = (found <= 1e-12 * x.abs().amax(0)).nonzero().flatten().tolist()
    if constant:
        raise InputError(f"coordinate {constant[0]} of {name} does not vary ({len(constant)} of {x.shape[1]} do not): leave it out")
    return torch.as_tensor(found)
