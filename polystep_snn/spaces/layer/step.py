r"""Layer space: PolyStep on the outputs of any module's layers.

A module that maps samples to costs gives B numbers in a forward pass, if every sample is asked a question of its own. A particle is a
sample; its coordinates are all outputs ``a`` of the probed layers. It stands at the vertices of a polytope in random directions ``u``::

    a + radius spread sum_k point[v, k] u_k           u: a sign for every output
    W.grad = mean_b g[b] x[b]^T                        g: slopes at the outputs; pulled back through the layer's own input x

Where the slopes at the module's output are known, ``g`` comes from how the inputs of the next layer move (``estimate.py``). Otherwise, or
for an unbiased estimate, it comes from the samples' costs::

    s_k = - eps V / sum_v point[v, k]^2  sum_v softmax(-cost / eps)[v] point[v, k]       slope along u_k: for large eps that of a line's fit
    g   = p + mean_k u_k (s_k - u_k . p) / (radius spread)                               p: learned credit (``credit.py``), 0 at first

Nothing is differentiated: rounding, argmax, floor, hard routing may stand behind a probed layer. The last layer, where its output is the
module's, has a closed form (``head.py``).

Source: node perturbation (Williams 1992; Fiete and Seung 2006) with a polytope, transport weights and a control variate.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.method import StepResult
from polystep_snn.polystep.polytope import vertices
from polystep_snn.polystep.schedule import at
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.spaces.layer.arithmetic import Eager, arithmetic_for
from polystep_snn.spaces.layer.consumers import find_consumers
from polystep_snn.spaces.layer.credit import LayerCredit, Share
from polystep_snn.spaces.layer.estimate import along_consumers, from_costs, moves, predictions, weights_of
from polystep_snn.spaces.layer.examine import examine
from polystep_snn.spaces.layer.groups import Group, Unprobed
from polystep_snn.spaces.layer.head import Loss, costs_of, end_of
from polystep_snn.spaces.layer.kinds import gradients, probed_layers
from polystep_snn.spaces.layer.passes import Passes
from polystep_snn.spaces.layer.reach import Reach, see
from polystep_snn.spaces.layer.space import LayerSpace
from polystep_snn.spaces.layer.watch import Call, Layout, Watch

_KEEP_SPREAD = 0.99
# Credit is learnt in each of the first steps, and then in one of so many.
_EAGER, _LEARN_EVERY = 100, 4
# Passes of the first step, at most, that see which inputs each output reaches.
_FIRST_LOOKS = 8


class LayerStep:
    """Fills ``.grad`` of a module's parameters from forward passes alone.

    ``step`` takes the place of ``loss.backward()``. Parameters that are in no probed layer have no gradient afterwards.

    Args:
        module: what is trained; its samples must not interact.
        loss: ``loss(output, target) -> [B]``, one number a sample, such as ``nn.CrossEntropyLoss(reduction="none")``.
        space: how its layers are probed.
        transport: from costs to weights; its ``eps`` may be a schedule.
        budget: counts forward passes, shared with whom it is compared.
        seed: of the directions.
        parts: other parts of the module, by name, whose outputs are probed, but whose parameters someone else trains. Each is called once.
        compile: have compiled loops for what is computed between passes on a CPU.

    Attributes:
        layers: what is probed, by name.
        passes: forward passes so far.
        at_parts: of the last step, what each part was given, and the slopes ``[B, n]`` of samples' costs at its output.

    Raises:
        InputError: no layer to probe, names that match none, a budget below one step. From ``step``: samples that interact, layers whose
            calls depend on what they compute, a loss of another shape, NaN or infinite.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        space: LayerSpace = LayerSpace(),
        transport: Transport = Softmax(),
        budget: Budget | None = None,
        seed: int = 0,
        parts: Mapping[str, nn.Module] | None = None,
        compile: bool = True,
    ):
        self.module, self.loss, self.space, self.transport, self.budget = module, loss, space, transport, budget
        self._parts = dict(parts or {})
        self.layers = probed_layers(module, space.layers, list(self._parts))
        self.generator = torch.Generator().manual_seed(seed)
        self._watch = Watch(self.layers, self._parts)
        self._compile, self._arithmetic = compile, Eager()
        self._points = vertices(space.polytope, space.dim)
        self._weights = weights_of(self._points)
        self._state: ModuleState | None = None
        self._layouts: list[Layout] | None = None
        self._consumers: dict[str, list[int]] | None = None
        self._spread: dict[str, Tensor] = {}
        self._credit: dict[str, LayerCredit] = {name: LayerCredit() for name in (*self.layers, *self._parts)}
        self._reach: dict[str, Reach | None] = {}
        self._share = Share()
        self._steps = 0
        self.passes = 0
        self.at_parts: dict[str, tuple[Any, Tensor]] = {}
        if budget is not None:
            budget.affords(self.evaluations)

    @property
    def evaluations(self) -> int:
        """Forward passes of the next step. The first one takes some more, to see who consumes what layers give: ``passes`` counts them."""
        return 1 + len(self._points) + (self._layouts is None) + self._looks

    @property
    def _looks(self) -> bool:
        """Whether the next step has a pass that sees which inputs each output reaches."""
        return any(reach is not None and reach.wants(self._steps + 1) for reach in self._reach.values())

    @torch.no_grad()
    def step(self, inputs: Any, target: Tensor, progress: float = 0.0) -> StepResult:
        """Probe the module on a batch and write the slopes into the parameters' ``.grad``.

        Args:
            inputs: what the module is called with: a tensor ``[B, ...]``, or a tuple of arguments.
            target: second argument of the loss, ``[B, ...]``.
            progress: how much of the run lies behind, in [0, 1], for the schedules.
        """
        self._spend(self.evaluations)
        looks = self._looks
        self._steps += 1
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        if self._state is None:
            self._state = ModuleState(self.module, self.loss)
        else:
            self._state.renew()
        passes = Passes(self.module, arguments, self._watch, self._state)
        output = passes.first()
        calls = self._watch.calls
        again = next((name for name in self._parts if sum(call.name == name for call in calls) != 1), None)
        if again is not None:
            raise InputError(f"{again} is not called once in a forward pass: only then its part of the cost is known")
        if not calls:
            raise InputError(f"none of the layers {', '.join(self.layers)} ran: name those that do in `layers`")
        self._arithmetic = arithmetic_for((output, *(x for call in calls for x in (call.given, call.output))), self._compile)
        try:
            end = end_of(self.loss, output, target, self._arithmetic)
            if self._layouts is None or len(self._layouts) != len(calls):
                if self._layouts is not None:
                    self._spend(1)
                self._layouts, self._consumers = examine(passes, self._watch, arguments, calls, output, end.size), None
            unprobed = Unprobed.of(calls, self._layouts, output, end.slopes, end.size, self.space.windows, self._arithmetic)
            if self._follows(unprobed):
                self._look(unprobed, passes, int(looks))
            slopes = self._slopes(unprobed, target, passes, progress)
        finally:
            passes.end()
        self._fill(calls, slopes, end.size)
        return StepResult(end.loss, end.accuracy, [])

    def _spend(self, count: int) -> None:
        self.passes += count
        if self.budget is not None:
            self.budget.spend(count)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the module's and the optimizer's own: tensors only."""
        counts = torch.tensor([self._steps, self.passes])
        state = {"generator": self.generator.get_state(), "counts": counts, "share": self._share.both}
        state |= {f"spread.{name}": x for name, x in self._spread.items()}
        for name, credit in self._credit.items():
            state |= {f"credit.{name}.{key}": x for key, x in credit.state().items()}
        for name, reach in self._reach.items():
            state |= {} if reach is None else {f"reach.{name}.hits": reach.hits, f"reach.{name}.tests": reach.tests}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit.

        Raises:
            InputError: no state of a ``LayerStep``.
        """
        missing = next((name for name in ("generator", "counts", "share") if name not in state), None)
        if missing is not None:
            raise InputError(f"this is no state of a LayerStep: {missing!r} is missing")
        self.generator.set_state(state["generator"])
        self._steps, self.passes = state["counts"].tolist()
        self._share.both = state["share"].clone()
        for name, credit in self._credit.items():
            found = _below(f"credit.{name}.", state)
            if found:
                credit.load(found)
            if f"reach.{name}.hits" in state:
                self._reach[name] = Reach(**_below(f"reach.{name}.", state))
        self._spread = _below("spread.", state)

    def _follows(self, unprobed: Unprobed) -> bool:
        """Whether slopes come from how consumers move."""
        return self.space.credit and unprobed.at_output is not None

    def _look(self, unprobed: Unprobed, passes: Passes, looks: int) -> None:
        """Who consumes what groups give, and which of its inputs each output reaches."""
        first = not self._reach
        if self._consumers is None:
            self._consumers, count = find_consumers(unprobed, passes)
            self._spend(count)
        for group in unprobed.groups:
            group.consumer = [k for k in self._consumers[group.name] if k > group.calls[0]]
            if group.name not in self._reach:
                inputs = unprobed.at_consumer(group, lambda k: unprobed.calls[k].given, unprobed.output)
                self._reach[group.name] = Reach.unseen(group.outputs.shape[1], inputs.shape[2], inputs)
        if first:
            sizes = [group.outputs.shape[1] for group in unprobed.groups if self._reach[group.name] is not None]
            looks = min(_FIRST_LOOKS, -(-max(sizes, default=0) // unprobed.size))
            self._spend(looks)
        for _ in range(looks):
            see(unprobed, passes, self._watch, self._reach, self.generator)

    def _slopes(self, unprobed: Unprobed, target: Tensor, passes: Passes, progress: float) -> list[Tensor | None]:
        """Slopes of the mean cost at the output of every call, in its shape, times B."""
        self._draw(unprobed.groups, at(self.space.radius, progress))
        points = self._points.to(unprobed.calls[0].output)
        outputs, calls = [], []
        for point in points:
            outputs.append(passes.again(unprobed.shifts(point), unprobed.only_once))
            calls.append(self._watch.calls)
        follows = self._follows(unprobed)
        correction = at(self.space.correction, progress) if follows else 1.0
        estimates: list[Tensor] = []
        if correction > 0:
            predicted = predictions(unprobed, self._credit, self.layers) if follows else None
            costs = torch.stack([costs_of(self.loss, output, target) for output in outputs])
            eps = at(self.transport.eps, progress)
            found = from_costs(unprobed.groups, predicted, costs, points, self.transport, eps, self._share)
            estimates = [correction * g for g in found]
        if follows:
            moved = moves(unprobed, self._weights, calls, outputs)
            learn = self._steps <= _EAGER or self._steps % _LEARN_EVERY == 0
            found = along_consumers(unprobed, moved, self._credit, self._reach, self.layers, learn)
            estimates = [e + (1 - correction) * g for e, g in zip(estimates, found, strict=True)] if correction > 0 else found
        slopes = unprobed.known_slopes()
        for group, estimate in zip(unprobed.groups, estimates, strict=True):
            unprobed.put_slopes(slopes, group, estimate)
        return slopes

    def _draw(self, groups: list[Group], radius: float) -> None:
        """Directions, and how far to go: in all windows of a layer as far."""
        spreads: dict[str, list[Tensor]] = {}
        for group in groups:
            spreads.setdefault(group.name, []).append(group.spread)
        for name, found in spreads.items():
            spread = found[0] if len(found) == 1 else torch.stack(found).mean()
            self._spread[name] = self._spread[name].lerp(spread, 1 - _KEEP_SPREAD) if name in self._spread else spread
        for group in groups:
            group.scale = (radius * self._spread[group.name]).clamp(min=1e-12)
            group.directions = self._signs(group.outputs)

    def _signs(self, outputs: Tensor) -> Tensor:
        """Random directions ``[D, B, n]`` of -1 and 1: a bit each, of random numbers with 64 of them."""
        shape = (self.space.dim, *outputs.shape)
        numbers = torch.empty(-(-math.prod(shape) // 64), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        return self._arithmetic.signs(numbers, outputs, shape)

    def _fill(self, calls: list[Call], slopes: list[Tensor | None], size: int) -> None:
        """Write ``.grad``."""
        total: dict[nn.Parameter, Tensor] = {}
        for call, slope in zip(calls, slopes, strict=True):
            assert slope is not None
            if not call.is_layer:
                self.at_parts[call.name] = call.given, slope.reshape(size, -1)
                continue
            for parameter, grad in gradients(self.layers[call.name], call.given, slope / size):
                total[parameter] = total[parameter] + grad if parameter in total else grad
        for layer in self.layers.values():
            for own in layer._parameters.values():
                if own is not None:
                    own.grad = total.get(own)


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of what names begin with."""
    return {name.removeprefix(prefix): x.clone() for name, x in state.items() if name.startswith(prefix)}
