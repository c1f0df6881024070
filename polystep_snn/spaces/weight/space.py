"""How weights are probed, and where that puts the particles of each parameter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.barycenter import barycenter
from polystep_snn.polystep.polytope import vertices, with_radii
from polystep_snn.polystep.schedule import Radius, radii_at
from polystep_snn.polystep.transport import Transport
from polystep_snn.spaces.weight.directions import Part
from polystep_snn.spaces.weight.subspaces import HybridLowRank, Subspace


@dataclass(frozen=True)
class WeightSpace:
    """How weights are probed.

    Attributes:
        radius: distance of a candidate from the parameters, Euclidean, in weights; several numbers for several shells of vertices,
            schedules for radii that change over a run.
        subspace: the directions of each parameter.
        particle_dim: p, coordinates of a particle. Particles do not cross the rows of a matrix, so where a row does not divide it is the
            next smaller number that does, and every entry of a vector is a particle.
        polytope: "orthoplex", "simplex" or "cube", in p dimensions.
        rotate: turn every particle's polytope at random in every step (tells apart only for p > 1).
        redraw_every: steps after which the subspace is drawn anew.
        blocks: None to probe everything in every step; "layers" to probe one module's parameters a step, taking turns; or the
            groups that take turns, each a sequence of parameter names or patterns.
    """

    radius: Radius = 0.5
    subspace: Subspace = field(default_factory=HybridLowRank)
    particle_dim: int = 2
    polytope: str = "orthoplex"
    rotate: bool = True
    redraw_every: int = 1
    blocks: Sequence[Sequence[str]] | str | None = None

    def __post_init__(self):
        vertices(self.polytope, self.particle_dim)
        if self.redraw_every < 1:
            raise InputError(f"redraw_every is {self.redraw_every}: choose a number of steps, at least 1")
        if isinstance(self.blocks, str) and self.blocks != "layers":
            raise InputError(f"blocks is {self.blocks!r}: choose 'layers', None, or groups of parameter names")


class Placed(NamedTuple):
    """The vertices of the particles of a part.

    Attributes:
        points: ``[V, p]``, all shells, before they are turned.
        rotations: ``[P, p, p]``, or None where nothing is turned.
        offsets: ``[V, P, p]``, the points as each particle turns them.
    """

    points: Tensor
    rotations: Tensor | None
    offsets: Tensor

    def displacement(self, transport: Transport, costs: Tensor, eps: float) -> Tensor:
        """The barycenters ``[P * p]`` of all particles for costs ``[V, P]``, in units of the (mean) radius."""
        costs = costs.to(self.points.dtype)
        points = self.points / torch.linalg.vector_norm(self.points, dim=1).mean()
        towards = barycenter(transport, costs[:, :, None], costs.new_tensor(eps), points)[:, :, 0].T
        if self.rotations is not None:
            towards = torch.einsum("kq,kqp->kp", towards, self.rotations)
        return towards.reshape(-1)


def place(part: Part, space: WeightSpace, parameter: Tensor, progress: float, generator: torch.Generator) -> Placed:
    """Where the particles of a part stand in a step."""
    dim = particle_dim(part, space)
    radii = radii_at(space.radius, progress)
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    points = with_radii(vertices(space.polytope, dim), radii).to(parameter.device, dtype)
    num_particles = part.size // dim
    if not space.rotate or dim == 1:
        return Placed(points, None, points[:, None].expand(-1, num_particles, -1))
    rotations = random_rotations(num_particles, dim, generator).to(points)
    return Placed(points, rotations, torch.einsum("vq,kqp->vkp", points, rotations))


def particle_dim(part: Part, space: WeightSpace) -> int:
    """Coordinates of a particle: the largest number up to the one that is wanted into which the part's rows divide."""
    return next(dim for dim in range(min(space.particle_dim, part.row), 0, -1) if part.row % dim == 0)


def num_candidates(part: Part, space: WeightSpace) -> int:
    """Candidates of a part in one step: particles times vertices."""
    dim = particle_dim(part, space)
    shells = len(space.radius) if isinstance(space.radius, Sequence) else 1
    return shells * len(vertices(space.polytope, dim)) * (part.size // dim)


def random_rotations(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """``[count, dim, dim]``, as ``polytope.random_rotation``."""
    q, r = torch.linalg.qr(torch.randn(count, dim, dim, dtype=torch.float64, generator=generator))
    return q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None, :]
