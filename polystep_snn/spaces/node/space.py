"""How the neurons of a spiking network are probed."""

from collections.abc import Sequence
from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.polystep.polytope import vertices
from polystep_snn.polystep.schedule import Radius

CREDITS = ("auto", "exact", "chained")


@dataclass(frozen=True)
class NodeSpace:
    """How neurons are probed.

    Attributes:
        radius: shift of a hidden neuron's input current at a vertex, in thresholds of its layer; several numbers for several
            shells of vertices, schedules for radii that change over a run.
        readout_radius: the same for the readout's neurons. None for 0.3 where they fire, and for 0.05 (in units of current) where
            they integrate: there is no threshold to reach, and a small radius makes the barycenter follow the slope of the cost.
        num_windows: M, time windows of equal length that are shifted independently. 1 suits constant images.
        polytope: "orthoplex", "simplex" or "cube", in M dimensions.
        rotate: turn the polytope at random in every step (tells apart only for M > 1).
        num_probed: hidden neurons probed a layer and step, drawn at random; None for all. One number for every layer, or one a layer.
        credit: "exact" follows every probe that changed a spike through all layers behind its own; "chained" hands credit on from layer
            to layer, which costs little in deep and convolutional networks (``spaces.node.chained``). With one hidden layer in front of
            a readout that is a sum of spikes there is nothing to follow. "auto" is chained for networks with recurrent or delayed layers,
            whose spikes of earlier steps cannot be followed, and exact for all others.
        recurrent_credit: whether a changed spike is also priced by what it does through recurrent weights. Without it, credit is that of
            e-prop (Bellec et al. 2020), which leaves this out.
        chunk: probes that are followed into later layers at a time; None to choose. Bounds temporaries, and changes no number.
            Membranes of all probes that changed a spike live throughout, and where credit is chained M numbers a probe:
            ``num_probed`` is what bounds them.
    """

    radius: Radius = 0.6
    readout_radius: Radius | None = None
    num_windows: int = 1
    polytope: str = "orthoplex"
    rotate: bool = False
    num_probed: int | Sequence[int | None] | None = None
    credit: str = "auto"
    recurrent_credit: bool = True
    chunk: int | None = None

    def __post_init__(self):
        vertices(self.polytope, self.num_windows)
        if self.credit not in CREDITS:
            raise InputError(f"credit is {self.credit!r}: choose one of {', '.join(CREDITS)}")
        probed = self.num_probed if isinstance(self.num_probed, Sequence) else [self.num_probed]
        for name, value in [("chunk", self.chunk), *(("num_probed", n) for n in probed)]:
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: choose at least 1, or None")

    def probed_of(self, num_hidden: int) -> list[int | None]:
        """How many neurons of each of ``num_hidden`` layers are probed. InputError for another number of layers."""
        if not isinstance(self.num_probed, Sequence):
            return [self.num_probed] * num_hidden
        if len(self.num_probed) != num_hidden:
            given = f"num_probed has {len(self.num_probed)} numbers for {num_hidden} hidden layers"
            raise InputError(f"{given}: give one for all or one a layer")
        return list(self.num_probed)
