"""A module as a function of a vector, for methods that know vectors only."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.engine.state.repeats import RepeatCheck
from polystep_snn.engine.state.same_start import SameStart, untouched
from polystep_snn.spaces.weight.candidates import Loss, Many, as_arguments, mean_loss, num_samples
from polystep_snn.spaces.weight.parameters import chosen_parameters


class ModuleObjective:
    """Parameters of a module as one vector, and what such vectors cost on a batch: so that vector methods can train modules.

    Args:
        module: whose parameters.
        loss: ``loss(output, target)``, as of ``WeightStep``.
        parameters: names or patterns, as of ``WeightStep``.
        at_once: candidates that are evaluated at a time.

    Attributes:
        shapes: of the parameters, in the order of the vector.
    """

    def __init__(self, module: nn.Module, loss: Loss, parameters: Sequence[str] | None = None, at_once: int = 16):
        self.module, self.loss, self.at_once = module, loss, at_once
        self._parameters = chosen_parameters(module, parameters)
        self.shapes = [tuple(p.shape) for p in self._parameters.values()]
        self._many = Many(type(module).__name__)
        self._check = RepeatCheck(module)

    def vector(self) -> Tensor:
        """The parameters as they are, ``[dim]``."""
        return torch.cat([p.detach().reshape(-1) for p in self._parameters.values()])

    @torch.no_grad()
    def load(self, vector: Tensor) -> None:
        """Set the parameters to a vector ``[dim]``."""
        for name, value in self._split(vector).items():
            self._parameters[name].copy_(value)

    def on(self, inputs: Any, target: Any = None) -> Callable[[Tensor], Tensor]:
        """The function from vectors ``[n, dim]`` to costs ``[n]`` on one batch. Leaves the module as it is, buffers and attributes too.

        The function raises InputError where the costs of a vector depend on what was evaluated before, and the module does not say how:
        see ``same_start.py`` and ``repeats.py``.
        """

        def cost(vector: Tensor) -> Tensor:
            buffers = {name: b.clone() for name, b in self.module.named_buffers()}
            # A copy, since a module may write into its parameters.
            output = functional_call(self.module, self._split(vector.clone()) | buffers, as_arguments(inputs))
            return mean_loss(self.loss(output, target), num_samples(inputs, target))

        @torch.no_grad()
        def costs(vectors: Tensor) -> Tensor:
            start = SameStart(self.module, ModuleState(self.module, self.loss))
            with start.first():
                pass  # No pass is common to all: they share state, and draw on from the global generators.
            return torch.cat([self._together(cost, start, some) for some in vectors.split(self.at_once)])

        return costs

    def _together(self, cost: Callable[[Tensor], Tensor], start: SameStart, some: Tensor) -> Tensor:
        """Costs of a few vectors."""

        def evaluate() -> Tensor:
            try:
                return self._many(cost, start, some)
            finally:
                changed = start.end(thorough=True)
                start.keeps = start.keeps or changed

        def again() -> Tensor:
            with untouched(self.module, self.loss):
                return cost(some[0])

        kept = start.keeps
        found = evaluate()
        if start.keeps != kept and not self._many.vectorised:
            found = evaluate()  # One vector found what another one had left.
        if self._check.due(len(some), not self._many.vectorised):
            self._check.compare(again(), again)
        return found

    def _split(self, vector: Tensor) -> dict[str, Tensor]:
        pieces = vector.split([math.prod(shape) for shape in self.shapes])
        return {name: piece.view(p.shape).to(p.dtype) for (name, p), piece in zip(self._parameters.items(), pieces, strict=True)}
