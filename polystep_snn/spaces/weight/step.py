r"""Weight space: PolyStep on the parameters of any module.

Particles are groups of p coordinates of a subspace; each stands at the vertices of a polytope around the parameters, and every
candidate costs the module's loss on the batch::

    C[v, i]  = loss(theta + sum_k (r_v u_v R_i)_k  direction[i, k])        one candidate: particle i at vertex v
    d[i]     = sum_v transport(C)[v, i] r_v u_v R_i / mean(r)              the barycenter, |d| <= 1 for a single radius
    .grad    = - sum_{i, k} d[i]_k direction[i, k]

with random rotations ``R_i``. Directions have Euclidean length 1, so a radius is a distance in weights, and the displacement does not
change its scale when radii are scheduled: ``torch.optim.SGD(lr=radius)`` takes the paper's own step, to the barycenter itself;
momentum, Adam and learning-rate schedules are PyTorch's.

Source: arXiv 2605.01928, algorithm 1. For spiking networks node space (``spaces/node``) finds more in one pass than this does in
thousands. Weight space is for everything else: hard attention, routing, quantised layers, policies, black boxes.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.cost import Cost
from polystep_snn.polystep.method import StepResult
from polystep_snn.polystep.relative import Relative
from polystep_snn.polystep.schedule import at
from polystep_snn.polystep.transport import Transport
from polystep_snn.spaces.weight.candidates import Evaluator, Loss
from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.directions import Part
from polystep_snn.spaces.weight.parameters import blocks_of, chosen_parameters
from polystep_snn.spaces.weight.space import WeightSpace, num_candidates, place

# What random numbers are for.
_SUBSPACE, _ROTATIONS = 0, 1

__all__ = ["WeightSpace", "WeightStep"]


class WeightStep:
    """Fills ``.grad`` of a module's parameters from forward passes of candidates.

    ``step`` takes the place of ``loss.backward()``. The module decides how candidates are evaluated, and the log says how:
    a ``SpikingNetwork`` neuron by neuron, an ``nn.Sequential`` from the changed layer on, everything else whole, with ``torch.vmap`` where
    it works.

    All candidates start from the same state and the same random numbers. Buffers and torch's generators advance once a step (once a
    slice), by the unprobed forward pass. Everything else that a forward pass changes is put back after it, such as a membrane or a counter
    in a plain attribute, or a parameter that is written in place: so a step on the same batch finds the same costs, and nobody has
    to reset the module between steps. To carry such a state over, keep it in a buffer of fixed shape, or call the module after the step.
    Parameters and tensors in attributes are copied once for this.

    Args:
        module: what is trained.
        loss: ``loss(output, target)``, a mean over the batch or one number a sample. For a ``SpikingNetwork`` a ``Cost``; None for that
            of ``PolyStep``.
        space: how its weights are probed.
        transport: from costs to weights, a parameter at a time; its ``eps`` may be a schedule.
        parameters: names or patterns (``"head.*"``) of what is trained. None for all that require a gradient; where none does, as in a
            ``SpikingNetwork``, for all.
        memory: bytes that candidates may take at once; a batch of which not even one fits is evaluated in slices.
        budget: counts candidates, shared with whom it is compared.
        compile: compile the loops over time of a ``SpikingNetwork``.
        seed: of subspaces and rotations.
        evaluator: evaluates candidates in the module's stead: for whoever knows what a candidate changes (of a satisfiability problem, the
            clauses that hold its variable). ``loss``, ``memory`` and ``compile`` are not looked at then. None to choose by the module.
        average: replaces tensors by their means over all processes that share a batch evenly, in place: ``Workers.average``. Costs are
            averaged before the transport, which is not linear in them, so that displacements are those of the whole batch, and the same
            everywhere. None for a process that is alone.

    Attributes:
        steps: made so far. Together with ``seed`` it decides what is drawn.

    Raises:
        InputError: nothing to train, parameters that are not floating point, patterns that match nothing, a budget below one step.
            From ``step``, for modules other than a ``SpikingNetwork``: an attribute is an iterator, or a generator of random numbers that a
            pass has used; the same weights cost something else in the next pass.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss | Cost | None = None,
        space: WeightSpace = WeightSpace(),
        transport: Transport = Relative(),
        parameters: Sequence[str] | None = None,
        memory: int = 2**26,
        budget: Budget | None = None,
        compile: bool = False,
        seed: int = 0,
        evaluator: Evaluator | None = None,
        average: Callable[[list[Tensor]], None] | None = None,
    ):
        self.module = module
        self.space = space
        self.transport = transport
        self.budget = budget
        self.seed = seed
        self.average = average
        self.steps = 0
        self._evaluator = evaluator_of(module, loss, memory, compile) if evaluator is None else evaluator
        self._parameters = chosen_parameters(module, parameters)
        self._blocks = blocks_of(list(self._parameters), space.blocks)
        self._history: dict[str, Tensor] = {}
        # What a part was drawn from and what was drawn, each with the interval that it belongs to.
        self._drawn_from: dict[str, tuple[int, Tensor]] = {}
        self._parts: dict[str, tuple[int, Part]] = {}
        if budget is not None:
            budget.affords(max(self._count(block) for block in self._blocks))

    @property
    def evaluations(self) -> int:
        """Candidates that the next step evaluates."""
        return self._count(self._blocks[self.steps % len(self._blocks)])

    @torch.no_grad()
    def step(self, inputs: Any, target: Any = None, progress: float = 0.0) -> StepResult:
        """Probe the module on a batch and write the negative displacement into the parameters' ``.grad``.

        Parameters that are trained but not probed in this step have no gradient afterwards.

        Args:
            inputs: what the module is called with: a tensor ``[B, ...]``, a tuple of arguments, or None for no argument. For a
                ``SpikingNetwork`` ``[T, B, N]``, or an encoder's frames.
            target: second argument of the loss, ``[B, ...]`` if it has a batch.
            progress: how much of the run lies behind, in [0, 1], for the schedules.

        Returns:
            Loss and accuracy of the unprobed module; the accuracy is NaN where output and target are not ``[B, C]`` and classes ``[B]``.

        Raises:
            InputError: a loss of the wrong shape, NaN or infinite; a budget that is spent; state that cannot be put back.
        """
        block = self._blocks[self.steps % len(self._blocks)]
        parts = [self._part(name) for name in block]
        if self.budget is not None:
            self.budget.spend(self._count(block))
        generator = self._generator(_ROTATIONS, self.steps)
        placed = [place(part, self.space, self._parameters[part.name], progress, generator) for part in parts]
        found = self._evaluate(parts, [p.offsets for p in placed], inputs, target)
        for parameter in self._parameters.values():
            parameter.grad = None
        eps = at(self.transport.eps, progress)
        for part, costs, at_vertices in zip(parts, found.costs, placed, strict=True):
            displacement = part.expand(at_vertices.displacement(self.transport, costs, eps))
            parameter = self._parameters[part.name]
            parameter.grad = -displacement.to(parameter.dtype)
            if self.space.subspace.memory:
                past = self._history.get(part.name, torch.zeros_like(displacement))
                self._history[part.name] = self.space.subspace.memory * past + displacement
        self.steps += 1
        return StepResult(found.loss, found.accuracy, found.rates)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the module's and the optimizer's own: tensors only."""
        state = {f"history.{name}": value for name, value in self._history.items()}
        state |= {f"drawn.{interval}.{name}": value for name, (interval, value) in self._drawn_from.items()}
        return {"steps": torch.tensor(self.steps), **state}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit.

        Raises:
            InputError: no state of a ``WeightStep``, or one of other parameters.
        """
        if "steps" not in state:
            raise InputError("this is no state of a WeightStep: 'steps' is missing")
        history, drawn = {}, {}
        for key, value in state.items():
            kind, _, name = key.partition(".")
            if kind == "history":
                history[name] = value.clone()
            elif kind == "drawn":
                interval, _, name = name.partition(".")
                drawn[name] = (int(interval), value.clone())
            if kind != "steps" and (name not in self._parameters or value.shape != self._parameters[name].shape):
                raise InputError(f"the state has {name} {list(value.shape)}, which is not trained here: load it into the same module")
        self.steps = int(state["steps"])
        self._history, self._drawn_from, self._parts = history, drawn, {}

    def _generator(self, purpose: int, index: int) -> torch.Generator:
        """Random numbers that depend on the seed, what they are for, and a count: nothing else has to be kept."""
        # Torch's generator looks at 32 bits of a seed: all that counts has to be mixed into them.
        mixed = blake2b(f"{self.seed} {purpose} {index}".encode(), digest_size=4).digest()
        return torch.Generator().manual_seed(int.from_bytes(mixed, "little"))

    def _part(self, name: str) -> Part:
        """The directions of a parameter in this step, drawn when the step is the first of its interval that asks."""
        interval = self.steps // self.space.redraw_every
        known = self._parts.get(name)
        if known is None or known[0] != interval:
            subspace, parameter = self.space.subspace, self._parameters[name]
            if subspace.memory and name in self._history and self._drawn_from.get(name, (-1,))[0] != interval:
                self._drawn_from[name] = (interval, self._history[name])
            history = self._drawn_from[name][1] if name in self._drawn_from else None
            generator = self._generator(_SUBSPACE, interval * len(self._parameters) + list(self._parameters).index(name))
            known = self._parts[name] = (interval, subspace.draw(name, parameter.detach(), generator, history))
        return known[1]

    def _count(self, block: Sequence[str]) -> int:
        """Candidates of a block."""
        return sum(num_candidates(self._part(name), self.space) for name in block)

    def _evaluate(self, parts: list[Part], offsets: list[Tensor], inputs: Any, target: Any) -> "Found":
        """The unprobed pass and all candidates, added up over slices of the batch."""
        total: Found | None = None
        for share, x, y in self._evaluator.slices(inputs, target):
            batch = self._evaluator.batch(x, y)
            costs = [batch.costs(part, where) for part, where in zip(parts, offsets, strict=True)]
            found = Found(batch.loss, _accuracy(batch.output, y), costs, batch.rates).scaled(share)
            total = found if total is None else total.plus(found)
        assert total is not None
        if self.average is not None:
            self.average([total.loss, total.accuracy, *total.costs, *total.rates])
        # Looked at only now: where one process has found such a cost, all of them stop, with the same words.
        if not total.loss.isfinite():
            raise InputError(f"the loss is {total.loss.item():g}: choose a smaller learning rate, or a loss that is finite")
        for part, cost in zip(parts, total.costs, strict=True):
            if not cost.isfinite().all():
                bad = int((~cost.isfinite()).sum())
                raise InputError(
                    f"the loss of {bad} of {cost.numel()} candidates of {part.name} is NaN or infinite: "
                    "choose a smaller radius, or a loss that is finite"
                )
        return total


class Found(NamedTuple):
    """What a batch, or some of its slices, found: see ``Batch`` and ``StepResult``."""

    loss: Tensor
    accuracy: Tensor
    costs: list[Tensor]
    rates: list[Tensor]

    def scaled(self, share: float) -> "Found":
        return Found(self.loss * share, self.accuracy * share, [c * share for c in self.costs], [r * share for r in self.rates])

    def plus(self, other: "Found") -> "Found":
        costs = [a + b for a, b in zip(self.costs, other.costs, strict=True)]
        rates = [a + b for a, b in zip(self.rates, other.rates, strict=True)]
        return Found(self.loss + other.loss, self.accuracy + other.accuracy, costs, rates)


def _accuracy(output: Any, target: Any) -> Tensor:
    """The fraction of right decisions, or NaN where there are no classes."""
    output = output[0] if isinstance(output, tuple) and output else output
    if isinstance(output, Tensor) and isinstance(target, Tensor) and output.ndim == 2 and target.ndim == 1 and target.dtype == torch.int64:
        return (output.argmax(1) == target).to(torch.get_default_dtype()).mean()
    return torch.tensor(float("nan"))
