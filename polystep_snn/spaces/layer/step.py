r"""Layer space: PolyStep on the outputs of any module's layers.

A module that maps samples to costs gives B numbers in a forward pass, if every sample is asked a question of its own. A particle is a
sample; its coordinates are all outputs ``a`` of the probed layers. It stands at the vertices of a polytope in random directions ``u``::

    a + radius spread sum_k point[v, k] u_k          u: a sign for every output
    s_k = - eps V / sum_v point[v, k]^2  sum_v softmax(-cost / eps)[v] point[v, k]       slope along u_k: for large eps that of a line's fit
    g   = p + sum_k u_k (s_k - u_k . p) / (radius spread)            p: learned credit (``credit.py``), 0 at first
    W.grad = mean_b g[b] x[b]^T                       pulled back through the layer's own input

Nothing is differentiated: rounding, argmax, floor, hard routing may stand behind a probed layer. The last layer, where its output is the
module's, has a closed form (``head.py``).

Source: node perturbation (Williams 1992; Fiete and Seung 2006) with a polytope, transport weights and a control variate.
"""

from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.engine.state.same_start import SameStart
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.method import StepResult
from polystep_snn.polystep.polytope import vertices
from polystep_snn.polystep.schedule import at
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.spaces.layer.buffers import Buffers
from polystep_snn.spaces.layer.credit import LayerCredit
from polystep_snn.spaces.layer.examine import examine
from polystep_snn.spaces.layer.groups import Group, Unprobed
from polystep_snn.spaces.layer.head import Loss, costs_of, output_slopes
from polystep_snn.spaces.layer.kinds import at_inputs, gradients, probed_layers
from polystep_snn.spaces.layer.radius import RADII, RadiusChoice
from polystep_snn.spaces.layer.space import LayerSpace
from polystep_snn.spaces.layer.watch import Call, Layout, Watch

_KEEP_SPREAD = 0.99
# A radius for modules whose credit is not learnt.
_USUAL = 0.1
_LARGEST_PREDICTION = 3.0  # in units of what was measured


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

    Attributes:
        layers: what is probed, by name.

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
    ):
        self.module, self.loss, self.space, self.transport, self.budget = module, loss, space, transport, budget
        self.layers = probed_layers(module, space.layers)
        self.generator = torch.Generator().manual_seed(seed)
        self._watch = Watch(self.layers)
        self._points = vertices(space.polytope, space.dim)
        self._state: ModuleState | None = None
        self._layouts: list[Layout] | None = None
        self._spread: dict[str, Tensor] = {}
        self._credit: dict[str, LayerCredit] = {}
        self._choice: RadiusChoice | None = None
        if budget is not None:
            budget.affords(self.evaluations)

    @property
    def evaluations(self) -> int:
        """Forward passes of the next step; the first one takes another one to see which samples are which."""
        return 1 + len(self._points) + (self._layouts is None)

    @torch.no_grad()
    def step(self, inputs: Any, target: Tensor, progress: float = 0.0) -> StepResult:
        """Probe the module on a batch and write the slopes into the parameters' ``.grad``.

        Args:
            inputs: what the module is called with: a tensor ``[B, ...]``, or a tuple of arguments.
            target: second argument of the loss, ``[B, ...]``.
            progress: how much of the run lies behind, in [0, 1], for the schedules.
        """
        if self.budget is not None:
            self.budget.spend(self.evaluations)
        arguments = inputs if isinstance(inputs, tuple) else (inputs,)
        if self._state is None:
            self._state = ModuleState(self.module, self.loss)
        else:
            self._state.renew()
        start, buffers = SameStart(self.module, self._state), Buffers(self.module)
        with start.first(), self._watch.on():
            output = self.module(*arguments)
        buffers.keep()
        calls, cost = self._watch.calls, costs_of(self.loss, output, target)
        if not calls:
            raise InputError(f"none of the layers {', '.join(self.layers)} ran: name those that do in `layers`")
        try:
            if self._layouts is None or len(self._layouts) != len(calls):
                if self.budget is not None and self._layouts is not None:
                    self.budget.spend(1)
                buffers.rewind()
                self._layouts = examine(self.module, self._watch, start, arguments, calls, output, len(cost))
            at_output = output_slopes(self.loss, output, target) if isinstance(output, Tensor) else None
            unprobed = Unprobed.of(calls, self._layouts, output, at_output, cost, self.space.windows)
            slopes = self._slopes(unprobed, target, arguments, start, buffers, progress)
        finally:
            buffers.advance()
            start.end()
        self._fill(calls, slopes, len(cost))
        accuracy = torch.tensor(float("nan"))
        if output.ndim == 2 and target.ndim == 1 and not target.is_floating_point():
            accuracy = (output.argmax(1) == target).to(cost.dtype).mean()
        return StepResult(cost.mean(), accuracy, [])

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the module's and the optimizer's own: tensors only."""
        state = {"generator": self.generator.get_state(), **{f"spread.{name}": x for name, x in self._spread.items()}}
        for name, credit in self._credit.items():
            state |= {f"credit.{name}.{key}": x for key, x in credit.state().items()}
        return state | ({} if self._choice is None else {f"radius.{name}": x for name, x in self._choice.state().items()})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit.

        Raises:
            InputError: no state of a ``LayerStep``.
        """
        if "generator" not in state:
            raise InputError("this is no state of a LayerStep: 'generator' is missing")
        self.generator.set_state(state["generator"])
        self._spread = {name.removeprefix("spread."): x.clone() for name, x in state.items() if name.startswith("spread.")}
        self._credit = {}
        for name in self.layers:
            found = {k.removeprefix(f"credit.{name}."): x.clone() for k, x in state.items() if k.startswith(f"credit.{name}.")}
            if found:
                self._credit[name] = LayerCredit()
                self._credit[name].load(found)
        found = {k.removeprefix("radius."): x.clone() for k, x in state.items() if k.startswith("radius.")}
        self._choice = None
        if found:
            variances = found["variances"]
            self._choice = RadiusChoice(RADII if len(variances) > 1 else (_USUAL,), variances)
            self._choice.load(found)

    def _slopes(
        self, unprobed: Unprobed, target: Tensor, arguments: tuple[Any, ...], start: SameStart, buffers: Buffers, progress: float
    ) -> list[Tensor]:
        """Slopes of the mean cost at the output of every call, in its shape, times B."""
        learns = self.space.credit and unprobed.at_output is not None
        if self._choice is None:
            # One radius, where it is given, or where nothing would tell which is better.
            radii = RADII if learns and self.space.radius is None else (_USUAL,)
            self._choice = RadiusChoice(radii, unprobed.cost)
        place, best = self._choice.choose(self.generator)
        radius = self._choice.radii[place] if self.space.radius is None else at(self.space.radius, progress)
        self._draw(unprobed.groups, radius)
        points = self._points.to(unprobed.cost)
        norm = (points * points).sum(0)
        costs: list[Tensor] = []
        moved = [torch.zeros(())] * len(unprobed.groups)
        for point in points:
            buffers.rewind()
            with start.again(), self._watch.on(unprobed.shifts(point), unprobed.only_once):
                output = self.module(*arguments)
            costs.append(costs_of(self.loss, output, target))
            if learns:
                for k, group in enumerate(unprobed.groups):
                    moved[k] = moved[k] + (point / norm)[:, None, None] * unprobed.at_consumers(
                        group, lambda place: self._watch.calls[place].given, output
                    )
        return self._combine(unprobed, torch.stack(costs), points, moved, place, best, progress)

    def _draw(self, groups: list[Group], radius: float) -> None:
        """Directions, and how far to go: in all windows of a layer as far."""
        spreads: dict[str, list[Tensor]] = {}
        for group in groups:
            spreads.setdefault(group.name, []).append(group.outputs.std())
        for name, found in spreads.items():
            spread = torch.stack(found).mean()
            self._spread[name] = self._spread[name].lerp(spread, 1 - _KEEP_SPREAD) if name in self._spread else spread
        for group in groups:
            group.scale = (radius * self._spread[group.name]).clamp(min=1e-12)
            group.directions = self._signs(group.outputs)

    def _signs(self, outputs: Tensor) -> Tensor:
        """Random directions ``[D, B, n]`` of -1 and 1."""
        signs = torch.randint(0, 2, (self.space.dim, *outputs.shape), generator=self.generator)
        return signs.to(outputs) * 2 - 1

    def _combine(
        self,
        unprobed: Unprobed,
        costs: Tensor,
        points: Tensor,
        moved: list[Tensor],
        choice: int,
        best: int,
        progress: float,
    ) -> list[Tensor]:
        """From costs ``[V, B]``, and how the consumers' inputs moved along the directions, to slopes at every call's output."""
        slopes = [torch.zeros_like(call.output) for call in unprobed.calls]
        if unprobed.head is not None:
            assert unprobed.at_output is not None
            slopes[unprobed.head] = unprobed.at_output
        groups = unprobed.groups
        behind: list[Tensor] = []
        predicted = [torch.zeros_like(group.outputs) for group in groups]
        if self.space.credit and unprobed.at_output is not None:
            # From the output backward: every group's prediction rests on those of its consumers.
            for k, group in reversed(list(enumerate(groups))):
                v = unprobed.at_consumers(group, lambda place: self._at_input(unprobed.calls[place], slopes[place]), unprobed.at_output)
                behind.insert(0, v)
                found = self._credit.setdefault(group.name, LayerCredit()).predict(group.bins, v)
                predicted[k] = predicted[k] if found is None else found
                unprobed.put(slopes, group, predicted[k])
        told = sum(
            (torch.einsum("dbn,bn->db", group.directions, p) * group.scale for group, p in zip(groups, predicted, strict=True)),
            torch.zeros_like(costs[: self.space.dim]),
        )
        plain = self._along(costs, points, progress)
        told = told.clamp(-_LARGEST_PREDICTION * plain.abs().max(), _LARGEST_PREDICTION * plain.abs().max())
        assert self._choice is not None
        share = self._choice.shares[choice].of(plain, told)
        # What is predicted is taken from the costs before they become weights.
        left = self._along(costs - share * (points @ told), points, progress)
        self._choice.learn(choice, plain, left)
        asked = self.space.correction
        correction = self._choice.unexplained(choice) if asked is None else at(asked, progress)
        for k, (group, p) in enumerate(zip(groups, predicted, strict=True)):
            measured = torch.einsum("dbn,db->bn", group.directions, left) / group.scale
            if behind and choice == best:
                self._credit[group.name].learn(group.bins, behind[k], group.directions, moved[k] / group.scale, share * p + measured)
            unprobed.put(slopes, group, share * p + (choice == best) * correction * measured)
        return slopes

    def _along(self, costs: Tensor, points: Tensor, progress: float) -> Tensor:
        """Slopes ``[D, B]`` along the directions, of costs ``[V, B]``."""
        eps = at(self.transport.eps, progress)
        weights = self.transport(costs, eps)
        return -(points.T @ weights) * (eps * len(points) / (points * points).sum(0))[:, None]

    def _at_input(self, call: Call, slopes: Tensor) -> Tensor:
        return at_inputs(self.layers[call.name], call.given, slopes)

    def _fill(self, calls: list[Call], slopes: list[Tensor], size: int) -> None:
        """Write ``.grad``."""
        total: dict[nn.Parameter, Tensor] = {}
        for call, slope in zip(calls, slopes, strict=True):
            for parameter, grad in gradients(self.layers[call.name], call.given, slope / size):
                total[parameter] = total[parameter] + grad if parameter in total else grad
        for layer in self.layers.values():
            for parameter in layer.parameters(recurse=False):
                parameter.grad = total.get(parameter)
