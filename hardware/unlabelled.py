r"""Adapting a deployed network to its sensor without labels, as the stream goes by.

The network stands on the chip twice. One of the two decides. The other one, beside it, sees the same samples, is the deployed network as
long as nothing happens, and tries what has been worked out before any decision depends on it. A stage takes ``window`` samples::

    watch      both see the stream; sums and squares of what the first population receives, margins of both
    layer k    the one beside has maps (``transport.py``) up to population k - 1; what population k receives is gathered
    trial      it has all maps; its margins are held against those of the one that decides, sample by sample; what the readout receives
               is gathered, and moves its biases where the maps are taken over

A margin is the lead of the readout's first value over its second. A stage of watching ends without more where the margins of the deployed
network are what they were in training, or where its first population receives what it did then. Otherwise the maps are made and tried, and
they are taken over where they bring back ``share`` of the margin that was lost. What moves a neuron's current, as noise, contrast and
offsets do, brings back more than half of it; a turned image almost nothing. A refused sensor is not tried again until it changes.
After maps are taken over, they are made twice more from longer windows. Where the sensor is what it was in training, the deployed registers
are there again, bit for bit; where it is another one than the maps were made for, all starts anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import MARGIN_UNIT, Moments, RunningMoments, margins
from polystep_snn.hardware.input_neurons import CODES
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.transport import chance, distance, mapped_inputs, mapped_layer, mapped_readout
from polystep_snn.hardware.transport_rule import TransportRule, check_adaptable

REFINEMENTS = 2


class Observed(NamedTuple):
    """What one of the two networks showed of B samples: ``sums``, of each layer ``[B, N]`` int32, and ``values`` ``[B, C]`` int32, the
    readout's."""

    sums: Sequence[np.ndarray]
    values: np.ndarray


class Event(NamedTuple):
    """A decision.

    Attributes:
        sample: after how many samples.
        what: "keep", "try", "refuse", "adapt", "refine" or "restore".
        reason: why.
        deployed, tried: margins of the deployed network and of the tried one then, as fractions of the margin in training.
    """

    sample: int
    what: str
    reason: str
    deployed: float | None
    tried: float | None


@dataclass
class _Window:
    """Of a stage: what was gathered. Margins as sums, and as a sum of squares of what one network's is more than the other's."""

    first: RunningMoments
    layer: RunningMoments | None
    own: int = 0
    beside: int = 0
    squares: int = 0
    count: int = 0


class Adaptation:
    """A stream being adapted to.

    Args:
        deployed: with kept statistics, and as it was trained.
        rule: when to act.

    Attributes:
        deployed: the network as it was trained.
        own: the one that decides.
        beside: the one that tries.
        decisions: of the first one, an array a call of ``show``.
        events: what was decided, and why.
        history: ``(samples shown, own)`` wherever it changed, the deployed one first.

    Raises:
        InputError: no statistics, registers that were adapted before, no hidden layer, sums that 32 bits do not hold.
    """

    def __init__(self, deployed: IntegerNetwork, rule: TransportRule):
        self._kept = check_adaptable(deployed)
        self.deployed = self.own = self.beside = deployed
        self.rule = rule
        self._has_inputs = deployed.encoder in CODES
        self._num_populations = len(self._kept.received)
        self.decisions: list[np.ndarray] = []
        self.events: list[Event] = []
        self.history = [(0, deployed)]
        self.shown = 0
        # The population that is gathered; None while watching, the readout in a trial.
        self._stage: int | None = None
        self._size, self._refined = rule.window, 0
        self._made_for: Moments | None = None
        self._refused: Moments | None = None
        self._lost: float = 0.0
        self._seen = RunningMoments(len(self._kept.received[0].mean))
        self._window = self._new_window()

    @property
    def left(self) -> int:
        """Samples left of this stage, after which registers may change."""
        return self._size - self._window.count

    @property
    def acted(self) -> bool:
        """Whether the network that decides has other registers than the deployed one."""
        return self.own is not self.deployed

    @property
    def reason(self) -> str:
        """Why the network that decides has the registers that it has."""
        wanted = ("adapt", "refine") if self.acted else ("refuse",) if self._refused is not None else ("keep", "restore", "refuse")
        found = [event.reason for event in self.events if event.what in wanted]
        return found[-1] if found else f"the stream ended before anything was decided, after {self.shown} samples"

    def check_network(self, network: IntegerNetwork) -> None:
        """InputError unless it is this network that adapts."""
        if network is not self.deployed:
            raise InputError("another network adapts than the backend runs: open a backend for the deployed one")

    def show(self, received: np.ndarray | None, own: Observed, beside: Observed) -> bool:
        """The next samples, no more than are left of the stage.

        Args:
            received: by the input neurons, ``[B, M]`` int32; None for a network that takes spikes.
            own, beside: what the two networks showed.

        Returns:
            Whether one of them has other registers now.
        """
        window = self._window
        assert 0 < len(own.values) <= self.left
        self.decisions.append(own.values.argmax(1).astype(np.int16))
        # No registers act on what the first population receives: it is the same for both.
        window.first.add(received if self._has_inputs and received is not None else own.sums[0])
        if window.layer is not None and self._stage is not None:
            window.layer.add(beside.sums[self._stage - self._has_inputs])
        decided, tried = margins(own.values), margins(beside.values)
        window.own += int(decided.sum())
        window.beside += int(tried.sum())
        window.squares += int(((tried - decided) ** 2).sum())
        window.count += len(own.values)
        self.shown += len(own.values)
        if self.left:
            return False
        before = self.own, self.beside
        self._conclude()
        self._window = self._new_window()
        if self.own is not before[0]:
            self.history.append((self.shown, self.own))
        return self.own is not before[0] or self.beside is not before[1]

    def _new_window(self) -> _Window:
        received, stage = self._kept.received, self._stage
        layer = None if stage is None else RunningMoments(len(received[stage].mean))
        return _Window(RunningMoments(len(received[0].mean)), layer)

    def _conclude(self) -> None:
        now = self._window.first.moments()
        changed = self._seen.count > 0 and self._differs(self._seen.moments(), now)
        if changed:
            # Another sensor than before: what was gathered of that one does not count any more.
            self._seen = RunningMoments(len(now.mean))
        self._seen.merge(self._window.first)
        if self._stage is None:
            self._after_watching(self._seen.moments())
        elif changed:
            self._note("keep", "the sensor changed while maps were made: they are made anew")
            self._watch()
        elif self._stage < self._num_populations - 1:
            assert self._window.layer is not None
            self._make(self._window.layer.moments())
        else:
            self._after_trial()

    def _after_watching(self, now: Moments) -> None:
        deployed = self._share(self._window.beside)
        known = self._made_for is not None and not self._differs(self._made_for, now)
        if not self._differs(self._kept.received[0], now):
            self._note("restore" if self.acted else "keep", "the first population receives what it did in training", deployed)
            self.own, self._refused = self.deployed, None
        elif self.acted and known and self._refined >= REFINEMENTS:
            self._note("keep", "the sensor is the one that the maps were made for", deployed)
        elif not self.acted and deployed > 1 - self.rule.lost:
            self._note("keep", f"the deployed margin is {deployed:.0%} of that in training, so there is nothing to bring back", deployed)
        elif self._refused is not None and not self._differs(self._refused, now):
            self._note("keep", "maps were tried on this sensor and refused", deployed)
        else:
            self._note("try", f"the deployed margin is {deployed:.0%} of that in training", deployed)
            self._refined = self._refined + 1 if self.acted and known else 0
            self._size = self.rule.window * 2**self._refined
            self._made_for, self._refused, self._lost, self._stage = now, None, 1 - deployed, 0
            self.beside = self.deployed
            self._make(now)

    def _make(self, now: Moments) -> None:
        """The map of the population that was gathered, and on to the next one."""
        k = self._stage
        assert k is not None
        kept, number = self._kept.received[k], k - self._has_inputs
        try:
            if number < 0:
                self.beside = replace(self.deployed, input_neurons=mapped_inputs(kept, now))
            else:
                layer = mapped_layer(self.deployed.layers[number], kept, now, self.deployed.num_steps)
                layers = self.beside.layers
                self.beside = replace(self.beside, layers=(*layers[:number], layer, *layers[number + 1 :]))
            self._stage = k + 1
        except InputError as error:
            self._refuse(str(error), None)

    def _after_trial(self) -> None:
        after, current = self._share(self._window.beside), self._share(self._window.own)
        gain, n = self._window.beside - self._window.own, self._window.count
        # The standard error of a sum: the root of n times the variance.
        error = math.sqrt(max(0, self._window.squares - gain * gain / n))
        # What is lost without maps was measured while watching, on the deployed network.
        lost = self._lost if self.acted else 1 - current
        back, kept_back = (1 - (1 - share) / lost if lost > 0 else 0.0 for share in (after, current))
        reason = f"the maps bring back {back:.0%} of the margin that was lost"
        if back < self.rule.share:
            self._refuse(f"{reason}, less than {self.rule.share:.0%}", after)
        elif not self.acted and gain < self.rule.errors * error:
            self._refuse(f"{reason}, which may be chance", after)
        elif self._refined and gain < -error:
            self._note("keep", f"{reason}, the present ones {kept_back:.0%}", 1 - lost, after)
        else:
            self._note("refine" if self._refined else "adapt", reason, 1 - lost, after)
            self.own = self._with_readout()
        self._watch()

    def _with_readout(self) -> IntegerNetwork:
        """The network that was tried, with the biases of its readout moved, where these add up without a leak and registers hold them."""
        readout = self.deployed.layers[-1]
        if self.deployed.readout != "membrane" or readout.dv or readout.du != 4095:
            return self.beside
        assert self._window.layer is not None
        try:
            moved = mapped_readout(readout, self._kept.received[-1], self._window.layer.moments(), self.deployed.num_steps)
        except InputError:
            return self.beside
        return replace(self.beside, layers=(*self.beside.layers[:-1], moved))

    def _refuse(self, reason: str, after: float | None) -> None:
        """Where the sensor is another one than the present maps were made for, they go too."""
        if self._refined and self.acted:
            self._note("keep", reason, 1 - self._lost, after)
        else:
            self._note("refuse", reason, 1 - self._lost, after)
            self._refused, self.own = self._made_for, self.deployed
        self._watch()

    def _watch(self) -> None:
        self.beside, self._stage, self._size = self.deployed, None, self.rule.window

    def _note(self, what: str, reason: str, deployed: float | None = None, tried: float | None = None) -> None:
        self.events.append(Event(self.shown, what, reason, deployed, tried))

    def _share(self, margin: int) -> float:
        """The window's sum of margins, of that in training."""
        return margin * MARGIN_UNIT / (self._window.count * max(1, self._kept.margin))

    def _differs(self, one: Moments, other: Moments) -> bool:
        return distance(one, other) > self.rule.moved * chance(one, other)
