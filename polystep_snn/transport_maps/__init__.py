"""Optimal transport between two distributions, known from samples: the map that moves one into the other and moves mass least.

``DiagonalMap`` treats a coordinate at a time, ``GaussianMap`` is linear, ``PotentialMap`` learns the gradient of a convex network.
All three have ``fit(source, target)``, ``map(x)``, ``inverse(z)``, ``save(path)`` and ``load(path)``.
"""

from polystep_snn.transport_maps.diagonal import DiagonalMap
from polystep_snn.transport_maps.gaussian import GaussianMap, bures_matrix
from polystep_snn.transport_maps.metrics import l2_uvp, map_cosine
from polystep_snn.transport_maps.potential import PotentialMap, Report
from polystep_snn.transport_maps.proximal import ConvergenceError, Solution

__all__ = ["ConvergenceError", "DiagonalMap", "GaussianMap", "PotentialMap", "Report", "Solution", "bures_matrix", "l2_uvp", "map_cosine"]
