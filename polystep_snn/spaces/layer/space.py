"""How the outputs of a module's layers are probed."""

from collections.abc import Sequence
from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.polystep.polytope import vertices
from polystep_snn.polystep.schedule import Scheduled, at


@dataclass(frozen=True)
class LayerSpace:
    """How layers are probed.

    Attributes:
        radius: shift at a vertex, relative to the spread of its layer's outputs; a schedule for one that changes over a run.
        polytope, dim: vertices around where a sample is, in a subspace of so many random directions, each of them a sign for every output.
            An orthoplex in one dimension is a pair of opposite shifts.
        layers: names or patterns (``"encoder.*"``) of the layers that are probed; None for all linear layers, convolutions and embeddings.
        windows: a layer that is called several times in a pass (over time) is shifted alike in all calls of a window, of which there are
            so many; None to shift every call by itself.
        credit: follow what a shift does to the inputs of the layer's consumer, whose slopes are known, and learn it from step to step;
            False to go by samples' costs alone.
        correction: how much of the estimate is taken from samples' costs: 1 makes it unbiased, whatever lies behind a layer; 0 makes it
            least noisy.
    """

    radius: Scheduled = 0.1
    polytope: str = "orthoplex"
    dim: int = 1
    layers: Sequence[str] | None = None
    windows: int | None = 1
    credit: bool = True
    correction: Scheduled = 0.0

    def __post_init__(self):
        vertices(self.polytope, self.dim)
        if not all(at(self.radius, progress) > 0 for progress in (0.0, 1.0)):
            raise InputError(f"radius is {self.radius}: choose a positive number")
        if self.windows is not None and self.windows < 1:
            raise InputError(f"windows is {self.windows}: choose at least 1, or None to shift every call by itself")
        if not all(0 <= at(self.correction, progress) <= 1 for progress in (0.0, 1.0)):
            raise InputError(f"correction is {self.correction}: choose a number from 0 to 1")
