"""What data sets, neurons and spaces need other than the defaults."""

from collections.abc import Sequence
from typing import Any

from polystep_snn.datasets.config import AUGMENTATION_OPTIONS, EVENTS, SEQUENCE, SEQUENCE_AUGMENTATION_OPTIONS
from polystep_snn.geometry import Delayed, Recurrent
from polystep_snn.snn.config import parse_layer
from polystep_snn.spaces.config import SPACE_OPTIONS

# What a data set needs other than the defaults: small sets take smaller batches and more passes.
RECIPES: dict[str, dict[str, Any]] = {
    "mnist": {},
    "fashion-mnist": {},
    "digits": {"batch_size": 32, "epochs": 30},
    # Events move the weights of many active pixels at once. With a threshold that is large against a step of the optimizer, and a radius
    # that reaches it from far below, fewer neurons fall silent for good. Rounded weights generalise better from few recordings.
    "nmnist": {
        "encoder": EVENTS,
        "num_steps": 30,
        "beta": 0.9,
        "v_th": 1.0,
        "weight_bits": 8,
        "batch_size": 32,
        "epochs": 80,
        "windows": 10,
        "radius": 2.0,
        "eps": 3.0,
        "lr": 1e-2,
        "averaging": 0.98,
        "shift": 2,
    },
    "spoken-digits": {
        "encoder": SEQUENCE,
        "num_steps": 40,
        "batch_size": 32,
        "epochs": 40,
        "windows": 8,
        "lr": 1e-2,
        "weight_decay": 0.05,
        "averaging": 0.99,
        "time_shift": 3,
        "stretch": 0.15,
        "pitch": 1,
    },
    # The sets below are not at hand: their recipes are N-MNIST's, changed for lengths, sizes and sensors, and have not been tuned.
    "shd": {
        "encoder": EVENTS,
        "num_steps": 100,
        "window_us": 1_000_000,
        "v_th": 1.0,
        "batch_size": 32,
        "epochs": 30,
        "windows": 10,
        "radius": 2.0,
        "eps": 3.0,
        "lr": 1e-2,
        "averaging": 0.995,
        "shift": 20,
    },
    # The first neurons stand behind sums over 4 x 4 pixels.
    "dvsgesture": {
        "encoder": EVENTS,
        "hidden": ("p4", "16c5s2", "32c3s2"),
        "num_steps": 30,
        "window_us": 1_500_000,
        "beta": 0.9,
        "batch_size": 8,
        "epochs": 40,
        "credit": "chained",
        "windows": 5,
        "radius": 0.5,
        "lr": 4e-3,
        "weight_decay": 0.05,
        "averaging": 0.995,
        "shift": 8,
    },
}
# What data of one's own needs, by its kind: the recipe of the set that is most like it, without what only that set can have.
_LIKE = {"images": "mnist", "events": "nmnist", "sounds": "spoken-digits", "sequences": "spoken-digits"}
_ONLY_SPOKEN = ("time_shift", "stretch", "pitch")
# Images are few where they make fewer steps an epoch than this many batches of the usual size.
_FEW_IMAGES = 5000
# Of these, a neuron or an encoder needs others.
SPIKE_RECIPES: dict[str, dict[str, Any]] = {"spoken-digits": {"features": "events"}}
# How many rows an image has that is read row by row.
_NUM_ROWS = {"mnist": 28, "fashion-mnist": 28, "digits": 8}
# What the chip's neuron needs.
NEURON_RECIPES: dict[str, dict[str, Any]] = {
    "lif": {},
    "loihi": {"weight_bits": 8, "encoder": "rate", "num_steps": 16},
}
# What recurrent layers need where a data set's recipe does not say: chosen on validation, on MNIST read row by row and on spoken digits.
# With larger probes and steps neurons excite each other without end. The chip's neurons have others, tried on spoken digits with one seed.
RECURRENT_RECIPE: dict[str, Any] = {"radius": 0.3, "windows": 4, "lr": 5e-3}
RECURRENT_SPIKE_RECIPE: dict[str, Any] = {"radius": 0.6, "lr": 3e-3}
# What weight space needs: costs are those of whole batches, and a displacement is a unit vector times the learning rate.
SPACE_RECIPES: dict[str, dict[str, Any]] = {
    "node": {},
    "weight": {"radius": 0.5, "polytope": "simplex", "eps": 1.0, "batch_size": 256, "lr": 2e-2, "weight_decay": 0.0},
}

# What the loop that learns on the chip does not have.
NOT_ON_CHIP = (
    *("lr", "weight_decay", "averaging", "keep", "windows", "polytope", "transport", "probed", "credit", "rate_weight", "target_rate"),
    *("spike_price", "device", "threads", "compile", "v_th", "cost", "class_weights", "standardize", "label_smoothing"),
    *AUGMENTATION_OPTIONS,
    *SEQUENCE_AUGMENTATION_OPTIONS,
)


def own_recipe(kind: str, num_train: int, shape: Sequence[int] = ()) -> dict[str, Any]:
    """The recipe for data of one's own.

    Args:
        kind: of ``datasets.own.KINDS``.
        num_train: training samples.
        shape: of a sequence, ``(T, F)``.
    """
    options = dict(RECIPES["digits"] if kind == "images" and num_train < _FEW_IMAGES else RECIPES[_LIKE[kind]])
    if num_train < 4 * options.get("batch_size", 1):
        options["batch_size"] = max(1, num_train // 4)
    if kind == "events":
        # How many events a recording has, thresholds that are chosen from firing rates go by.
        options = {name: value for name, value in options.items() if name not in ("v_th", "radius", "eps")}
    if kind == "sequences":
        options = {name: value for name, value in options.items() if name not in _ONLY_SPOKEN}
        options |= {"num_steps": shape[0], "windows": min(options["windows"], shape[0])}
    return options


def recipe(
    dataset: str,
    neuron: str = "lif",
    space: str = "node",
    encoder: str | None = None,
    hidden: Sequence[int | str] = (),
    own: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is different from the defaults for a data set (``dataset``), a neuron, a space, an encoder and hidden layers.

    Of data set and neuron the data set's opinion counts, since it knows what the data is. Of all, the space's does: the data sets' radii,
    temperatures and learning rates were found in node space, where they are in other units, and what another space does not have is
    left out. ``own`` stands for the recipe of data of one's own.
    """
    others = {**NEURON_RECIPES[neuron], **(RECIPES[dataset] if own is None else own)}
    if neuron == "loihi":
        others |= SPIKE_RECIPES.get("spoken-digits" if own is not None and own.get("kind") == "sounds" else dataset, {})
    if encoder == "rows" and dataset in _NUM_ROWS:
        others |= {"num_steps": _NUM_ROWS[dataset], "windows": _NUM_ROWS[dataset] // 4, "weight_decay": 0.05}
    layers = [parse_layer(item) for item in hidden]
    if any(isinstance(layer, Recurrent) for layer in layers):
        others = {**RECURRENT_RECIPE, **others, **(RECURRENT_SPIKE_RECIPE if neuron == "loihi" else {})}
    # Whatever is on its way when the input ends arrives.
    if delays := sum(layer.max_delay for layer in layers if isinstance(layer, Delayed)):
        others["blank_steps"] = delays
    foreign = {name for owner, names in SPACE_OPTIONS.items() if owner != space for name in names}
    return {**{name: value for name, value in others.items() if name not in foreign}, **SPACE_RECIPES[space]}


def on_chip_recipe(dataset: str, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is different from the defaults where a network learns on the chip from random weights; ``own`` is as of ``recipe``."""
    foreign = {*NOT_ON_CHIP, *SPACE_OPTIONS["node"], "radius", "eps"}
    found = {name: value for name, value in recipe(dataset, "loihi", own=own).items() if name not in foreign}
    return {**found, "batch_size": 32, "neuron": "loihi"}
