"""How a run is probed, and how costs become displacements. Plain values, without torch; they check themselves."""

from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.options import COUNT, FRACTION, LARGEST_COUNT, POSITIVE, Options, Range, option, up_to

SPACES = ("node", "weight")
POLYTOPES = ("orthoplex", "simplex", "cube")
TRANSPORTS = ("softmax", "sinkhorn")
CREDITS = ("auto", "exact", "chained")
# What is minimised, and by which score epochs are told apart.
COSTS = {"entropy": "accuracy", "mse": "r2"}

# What one space has and the other has not.
SPACE_OPTIONS = {
    "node": ("windows", "probed", "credit", "recurrent_credit", "target_rate", "rate_weight", "spike_price", "cost_steps"),
    "weight": ("rank",),
}


@dataclass(frozen=True)
class MethodConfig(Options):
    """What is probed, and how; ``training/build.py`` makes a ``PolyStep`` or a ``WeightStep`` of it."""

    space: str = option("node", "probe neurons' currents, all in one pass, or weights, one candidate at a time, as the paper does", SPACES)
    radius: float = option(
        0.6, "shift of a hidden neuron's input current in a probe, in thresholds; of --space weight, a distance", range=POSITIVE
    )
    polytope: str = option("orthoplex", "vertices that are probed", POLYTOPES)
    transport: str = option("softmax", "from costs to weights", TRANSPORTS)
    eps: float = option(
        1.0, "entropic regularisation of the transport, in nats; of --space weight, in units of the spread of costs", range=POSITIVE
    )
    windows: int = option(1, "time windows that a probe shifts independently", range=COUNT)
    probed: tuple[int, ...] = option((0,), "hidden neurons probed a step, at random, 0 for all: one number a layer, or one for every layer")
    credit: str = option(
        "auto",
        "follow probes through all layers behind (exact), or hand credit on from layer to layer (chained): fast in deep networks; auto is "
        "chained where spikes arrive later, by recurrent weights or delays, else exact",
        CREDITS,
    )
    recurrent_credit: bool = option(
        True, "price what a spike does through recurrent weights (--no-recurrent-credit: leave it out, as e-prop does)"
    )
    target_rate: float = option(0.05, "firing rate, in spikes a step, that --rate-weight draws hidden neurons to", range=FRACTION)
    rate_weight: float = option(
        0.0, "how strongly, in nats: times the squared distance of each neuron's rate; 0 for none", range=up_to(POSITIVE.high)
    )
    cost: str = option("entropy", "cross-entropy of classes, or the mean squared error of real targets (mse)", tuple(COSTS))
    cost_steps: str = option(
        "last", "the decision after the last step has a cost, or those of all steps, so that early ones are right too", ("last", "all")
    )
    label_smoothing: float = option(
        0.0,
        "share of every target that is spread evenly over all classes while training",
        range=Range(0, 1, "a fraction from 0 to below 1", below=True),
    )
    spike_price: float = option(
        0.0, "what spikes of hidden neurons cost, in nats: of a neuron that fires in every step; 0 for nothing", range=up_to(POSITIVE.high)
    )
    rank: int = option(8, "random directions in which a row of weights is probed, of --space weight", range=COUNT)

    def __post_init__(self):
        super().__post_init__()
        for space, names in SPACE_OPTIONS.items():
            name = None if self.space == space else self.changed(names)
            if name:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but the space {self.space!r} has no such option: leave it out, or choose the space "
                    f"{space!r}"
                )

        if self.cost == "mse" and self.label_smoothing:
            raise InputError(f"label_smoothing is {self.label_smoothing:g}, but real targets have no classes: leave it out")
        if self.space == "weight" and self.cost == "mse":
            raise InputError("cost is 'mse', but the space 'weight' takes classes here: choose the space 'node'")

    @property
    def score(self) -> str:
        """By which epochs are told apart: "accuracy", or "r2" of real targets."""
        return COSTS[self.cost]

    def check_probed(self, num_layers: int) -> None:
        """InputError unless ``probed`` fits so many hidden layers."""
        if len(self.probed) not in (1, num_layers) or not all(0 <= n <= LARGEST_COUNT for n in self.probed):
            raise InputError(
                f"probed is {list(self.probed)}: give one number for all {num_layers} hidden layers or one a layer, 0 to {LARGEST_COUNT}"
            )
