r"""PolyStep on the chip: how a deployed network learns, in integers alone.

Each neuron j of the last hidden layer stands beside two copies whose bias is shifted by plus and minus a radius. After the T
steps of a sample, with spike counts ``n``, ``n+`` and ``n-``, the readout's integrators hold ``L = W n + T b``; with a copy in its
place they would hold ``L + W[:, j] (n'_j - n_j)``. So one pass tells every cost ``C``, without a second readout::

    d_j = tanh((C-_j - C+_j) / 2 eps)              barycenter of the two vertices under softmax weights, in [-1, 1]
    W_hidden[j, i]  += rate  mean_b d_j a_i / T    a_i: how often input i fired
    W_readout[c, j] += rate' mean_b d_c n_j / T    d_c: of a shift of the readout's own current, a closed form

Costs are cross-entropies in 1/1024 nat, by tables. The sums of a batch go into accumulators ``FRACTION`` bits below a weight's unit;
whole units move the weight on its int8 grid and the rest stays (error feedback). Per synapse that is one integer, and per neuron
a count: nothing is stored per timestep. The simulator and Lava call the same functions, so they learn the same weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.cost_tables import NAT, Costs
from polystep_snn.hardware.fixed_point import ALIGNMENT, V_LIMIT
from polystep_snn.hardware.integer_network import BIAS_BITS, IntegerNetwork

FRACTION = 18
WRITABLE = ("readout", "hidden_bias", "hidden")
SCHEDULES = ("constant", "cosine")

# Displacements are in 1/1024.
_FULL = 1024
_LARGEST_WEIGHT = 127
_LARGEST_BIAS = 2**12 - 1
# Of a layer before the readout: with more, sums of weights as they may be learned leave what float32 and Lava's registers hold.
_MOST_INPUTS = 2**17


@dataclass(frozen=True)
class LearningRule:
    """How fast and what a deployed network learns.

    Attributes:
        writable: what may change, of ``WRITABLE``: "readout" (its weights and biases), "hidden_bias", "hidden" (weights and biases of the
            last hidden layer).
        batch_size: samples whose displacements are summed before weights are written.
        rate: what a displacement of 1 adds to a hidden weight whose input fires in every step, in thresholds.
        readout_rate: the same for a readout weight, in the units that cost it a nat a step at ``nats``.
        schedule: of both rates over the run: "constant", or "cosine" down to 0.
        radius: shift of a hidden neuron's bias, in thresholds.
        readout_radius: shift of a readout's final membrane, in nats.
        eps: of the transport, in nats.
        nats: what the readout is worth: nats that a lead of one unit of latent weight in every step makes.
    """

    writable: tuple[str, ...] = ("readout",)
    batch_size: int = 32
    rate: float = 0.5
    readout_rate: float = 0.5
    schedule: str = "constant"
    radius: float = 0.6
    readout_radius: float = 0.4
    eps: float = 1.0
    nats: float = 7.5

    def __post_init__(self):
        unknown = sorted(set(self.writable) - set(WRITABLE))
        if unknown or not self.writable:
            raise InputError(f"writable is {list(self.writable)}: choose some of {', '.join(WRITABLE)}")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= 2**16:
            raise InputError(f"batch_size is {self.batch_size}: choose a whole number from 1 to {2**16}")
        if not 1e-3 <= self.eps <= 100:
            raise InputError(f"eps is {self.eps}: choose from 0.001 to 100 nats")
        for name in ("rate", "readout_rate", "radius", "readout_radius", "nats"):
            if not 1e-6 <= getattr(self, name) <= 1e6:
                raise InputError(f"{name} is {getattr(self, name)}: choose a positive number")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")

    @property
    def probes_hidden(self) -> bool:
        """Whether hidden neurons need their copies."""
        return bool({"hidden", "hidden_bias"} & set(self.writable))


class Learner:
    """A network that learns: its weights as they are now, and what is on the way to them.

    Attributes:
        rule: as given.
        shift: of a hidden copy's bias, in the register's units.
        parameters: int32 weights ``[N, M]`` and bias mantissas ``[N]`` by name: "hidden", "hidden_bias", "readout", "readout_bias".
        accumulators: what has not filled a unit yet, ``FRACTION`` bits below it, int32, under the same names.
        names: which of them are written.
        num_updates: batches in the run, for the schedule.
        updates: how many batches have moved them.
    """

    def __init__(self, network: IntegerNetwork, rule: LearningRule, num_updates: int):
        """
        Args:
            network: with a readout that integrates without a leak, behind one hidden layer or more.
            rule: how it learns.
            num_updates: batches in the run, for the schedule.

        Raises:
            InputError: a readout that is not linear, no hidden layer, a convolution, recurrent weights, delays, more inputs or
                steps than 32 bits hold the sums of, a radius or a rate that no register holds.
        """
        if len(network.layers) < 2:
            raise InputError("the network has no hidden layer: give one")
        for k, layer in enumerate(network.layers):
            if layer.convolution is not None:
                raise InputError(f"layer {k} is a convolution, but networks that learn on the chip are dense: choose a dense one")
            if layer.recurrent is not None:
                raise InputError(
                    f"layer {k} is recurrent, but networks that learn on the chip are not: choose one without recurrent weights"
                )
            if layer.max_delay:
                raise InputError(f"layer {k} has delays, but networks that learn on the chip have none: choose one without them")
            if layer.weight_exp:
                raise InputError(f"layer {k} has a weight exponent of {layer.weight_exp}, but layers that learn have 0: take another one")
            if layer.num_inputs > _MOST_INPUTS:
                raise InputError(f"layer {k} has {layer.num_inputs} inputs, but layers that learn have at most {_MOST_INPUTS}: use fewer")
        hidden, readout = network.layers[-2:]
        if network.readout != "membrane" or readout.dv or readout.du != 4095:
            raise InputError("learning on the chip needs a readout of integrators without leak: train with --readout membrane")
        self.network, self.rule, self.num_updates = network, rule, max(1, num_updates)
        self.parameters = {
            "hidden": hidden.weight.astype(np.int32),
            "hidden_bias": hidden.bias_mant.astype(np.int32),
            "readout": readout.weight.astype(np.int32),
            "readout_bias": readout.bias_mant.astype(np.int32),
        }
        self.accumulators = {name: np.zeros_like(values) for name, values in self.parameters.items()}
        self._sums = {name: np.zeros_like(values) for name, values in self.parameters.items()}
        self.names = [n for n in self.parameters if n in rule.writable or n.removesuffix("_bias") in rule.writable]
        self._limits = {}
        for name, values in self.parameters.items():
            largest = _LARGEST_BIAS if name.endswith("_bias") else _LARGEST_WEIGHT
            # What stands beyond the limits may stay there.
            self._limits[name] = min(-largest, int(values.min())), max(largest, int(values.max()))
        # A multiple of what the mantissa's unit is worth, so that a copy's register holds it too.
        unit = max(ALIGNMENT, hidden.bias_exp)
        self.shift = round(rule.radius * float(np.mean(hidden.vth)) * 2.0 ** (ALIGNMENT - unit)) << unit
        largest = max(map(abs, self._limits["hidden_bias"])) + (self.shift >> hidden.bias_exp)
        if rule.probes_hidden and not (self.shift and largest < 2 ** (BIAS_BITS - 1)):
            raise InputError(
                f"a radius of {rule.radius:g} thresholds shifts biases by {self.shift}: no bias register holds it, choose another"
            )
        steps = network.num_steps
        self._costs = Costs(rule.nats * readout.scale / steps, readout.num_neurons)
        # A copy in a neuron's place moves a readout by one weight in every step at most.
        largest = (V_LIMIT + 1 >> ALIGNMENT) + max(map(abs, self._limits["readout"])) * steps
        if rule.probes_hidden and not self._costs.holds(largest):
            raise InputError(f"in {steps} steps a probe can move a readout to {largest}, whose cost 32 bits do not hold: use fewer steps")
        self._lead = round(rule.readout_radius * NAT)
        reach = np.arange(math.ceil(8 * max(1.0, rule.eps)) * NAT)
        self._tanh = np.round(_FULL * np.tanh(reach / (2 * rule.eps * NAT))).astype(np.int32)
        self._factors = {}
        for name, layer, rate in (
            ("hidden", hidden, rule.rate * float(np.mean(hidden.vth))),
            ("readout", readout, rule.readout_rate / readout.scale),
        ):
            # A sum of displacements of 1 times counts of T is worth `rate` units of weight.
            factor = rate * 2**FRACTION / (rule.batch_size * steps * _FULL)
            written = name in self.names or f"{name}_bias" in self.names
            if written and not (factor >= 0.5 and rate * 2**FRACTION < 2**30):
                raise InputError(f"a rate of {rate:g} weights a batch does not fit the accumulators: choose another rate or batch_size")
            self._factors[name] = factor
            self._factors[f"{name}_bias"] = factor * steps * 2.0 ** (ALIGNMENT - layer.bias_exp)
        self.updates = 0

    def observe(self, inputs: np.ndarray, counts: np.ndarray, labels: np.ndarray, learn: bool) -> np.ndarray:
        """What a few samples teach is added up.

        Args:
            inputs: ``[B, M]`` int32, how often each input of the hidden layer fired.
            counts: ``[3, B, N]`` int32, how often the hidden neurons did, without and with their bias shifted up and down; ``[1, B, N]``
                where nothing before the readout is writable.
            labels: ``[B]`` classes.
            learn: False to only decide.

        Returns:
            The decisions ``[B]``.
        """
        own = counts[0]
        values = self.membranes(own) >> ALIGNMENT
        if learn:
            logits = self._costs.logits(values)
            lead = self._lead * np.eye(len(values), dtype=np.int32)[:, :, None]
            self._add("readout", self._displacement(logits + lead, logits - lead, labels), own)
            if self.rule.probes_hidden:
                change = (counts[1:] - own).transpose(0, 2, 1)[:, :, None]
                probed = self._costs.logits(values + self.parameters["readout"].T[:, :, None] * change)
                self._add("hidden", self._displacement(probed[0], probed[1], labels), inputs)
        return values.argmax(0)

    @property
    def num_copies(self) -> int:
        """Hidden neurons that stand for each of the network's: itself and, where anything before the readout is writable, its copies."""
        return 3 if self.rule.probes_hidden else 1

    @property
    def copied_biases(self) -> np.ndarray:
        """Bias mantissas ``[num_copies, N]`` int32 of hidden neurons and their copies."""
        unit = self.shift >> self.network.layers[-2].bias_exp
        return self.parameters["hidden_bias"] + np.array([0, unit, -unit], np.int32)[: self.num_copies, None]

    def membranes(self, own: np.ndarray) -> np.ndarray:
        """The readout's final membranes ``[C, B]`` after hidden neurons have fired ``own`` ``[B, N]`` times.

        Raises:
            InputError: one that would have fired or saturated.
        """
        layer = self.network.layers[-1]
        bias = self.parameters["readout_bias"].astype(np.int64) << layer.bias_exp
        membranes = 2**ALIGNMENT * _product(self.parameters["readout"], own.T, np.int64) + (self.network.num_steps * bias)[:, None]
        held = np.minimum(layer.vth << ALIGNMENT, V_LIMIT)[:, None]
        if (membranes > held).any() or (membranes < -V_LIMIT).any():
            raise InputError(
                f"a readout's membrane reaches {membranes.max()} and {membranes.min()}, where {held.min()} and {-V_LIMIT} are held: "
                "choose a smaller readout_rate, fewer steps or fewer hidden neurons"
            )
        return membranes.astype(np.int32)

    def update(self) -> None:
        """Move the weights by what the batch has taught."""
        done = self.updates / self.num_updates
        schedule = 1.0 if self.rule.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for name in self.names:
            accumulator, values = self.accumulators[name], self.parameters[name]
            # A batch moves a weight by less than 2^12 units (checked above); a bias has up to 2^6 units for one of these.
            wide = np.int64 if name.endswith("_bias") else np.int32
            moved = np.multiply(self._sums[name], round(schedule * self._factors[name]), dtype=wide)
            moved += accumulator
            whole = (moved + 2 ** (FRACTION - 1)) >> FRACTION
            moved -= whole << FRACTION
            accumulator[...] = moved
            whole += values
            np.clip(whole, *self._limits[name], out=whole)
            values[...] = whole
        self.forget()
        self.updates += 1

    def forget(self) -> None:
        """Drop what an unfinished batch has taught."""
        for sums in self._sums.values():
            sums[...] = 0

    def snapshot(self) -> dict[str, np.ndarray]:
        """Parameters and accumulators, copied."""
        return {f"{kind}.{name}": getattr(self, kind)[name].copy() for kind in ("parameters", "accumulators") for name in self.names}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Back to what ``snapshot`` returned."""
        for key, values in snapshot.items():
            kind, name = key.split(".")
            getattr(self, kind)[name][...] = values
        self.forget()

    def learned(self) -> IntegerNetwork:
        """The network with its parameters as they are now."""
        return with_parameters(self.network, self.parameters)

    def _displacement(self, up: np.ndarray, down: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """``[N, B]`` in 1/1024, of probes with logits ``[N, C, B]``."""
        gain = self._costs(down, labels) - self._costs(up, labels)
        return np.sign(gain) * np.take(self._tanh, np.minimum(np.abs(gain), len(self._tanh) - 1))

    def _add(self, name: str, displacement: np.ndarray, counts: np.ndarray) -> None:
        if name in self.names:
            self._sums[name] += _product(displacement, counts)
        if f"{name}_bias" in self.names:
            self._sums[f"{name}_bias"] += displacement.sum(1, dtype=np.int32)


def with_parameters(network: IntegerNetwork, parameters: Mapping[str, np.ndarray]) -> IntegerNetwork:
    """A network with other weights and biases, named as a ``Learner``'s; those that are not there stay."""
    layers = list(network.layers)
    for k, name in ((-2, "hidden"), (-1, "readout")):
        if name in parameters:
            layers[k] = replace(layers[k], weight=parameters[name].astype(np.int8))
        if f"{name}_bias" in parameters:
            layers[k] = replace(layers[k], bias_mant=parameters[f"{name}_bias"].astype(np.int16))
    return replace(network, layers=tuple(layers))


def _product(left: np.ndarray, right: np.ndarray, dtype: type = np.int32) -> np.ndarray:
    """Integer matrices multiplied by BLAS: every sum is below 2^53, which float64 holds exactly."""
    return (left.astype(np.float64) @ right.astype(np.float64)).astype(dtype)
