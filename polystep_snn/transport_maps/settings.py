"""How a potential is trained, and how exactly its proximal points are computed."""

from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.options import COUNT, Options, Range, option
from polystep_snn.transport_maps.coordinates import KINDS


@dataclass(frozen=True)
class PotentialSettings(Options):
    """Options of ``PotentialMap``. Residuals are root mean squares over coordinates, in units of the distributions' spread."""

    num_labels: int = option(1, "labels of points, for a map a label; 1: none", range=Range(1, 2**16, "a whole number from 1 to 65536"))
    widths: tuple = option((64, 64), "of the hidden layers")
    coordinates: str = option("linear", "the map that is the identity in the coordinates of the network", choices=KINDS)
    steps: int = option(1500, "of training", range=COUNT)
    batch_size: int = option(512, "samples of each distribution a step", range=COUNT)
    learning_rate: float = option(0.03, "of Adam at the start; it falls to zero as a cosine", range=Range(1e-6, 1, "1e-6 to 1"))
    floor: float = option(0.05, "the smallest curvature of the potential", range=Range(1e-4, 0.9, "1e-4 to 0.9"))
    tolerance: float = option(1e-4, "of the residual of a proximal point", range=Range(1e-12, 0.1, "1e-12 to 0.1"))
    training_tolerance: float = option(1e-2, "the same, while training", range=Range(1e-12, 0.1, "1e-12 to 0.1"))
    max_iterations: int = option(300, "of a proximal point", range=COUNT)
    num_drawn: int = option(100_000, "samples to draw from functions, once", range=COUNT)
    seed: int = option(0, "of weights and batches", range=Range(0, 2**63 - 1, "a whole number from 0 to 2^63 - 1"))

    def __post_init__(self):
        super().__post_init__()
        if not self.widths or not all(1 <= width <= 2**16 for width in self.widths):
            raise InputError(f"widths is {list(self.widths)}: give at least one, each from 1 to 65536")
