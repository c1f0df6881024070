"""One model, several spaces: spiking networks inside it by their neurons, its layers by their outputs, what is left by its weights."""

from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.engine.state.same_start import untouched
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.method import StepResult
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.layer.head import Loss
from polystep_snn.spaces.layer.space import LayerSpace
from polystep_snn.spaces.layer.step import LayerStep
from polystep_snn.spaces.node.space import NodeSpace
from polystep_snn.spaces.node.step import NodeStep
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep

__all__ = ["HybridStep", "spiking_parts"]


def spiking_parts(module: nn.Module) -> dict[str, SpikingNetwork]:
    """The spiking networks inside a module, by name."""
    return {name: part for name, part in module.named_modules() if name and isinstance(part, SpikingNetwork)}


class HybridStep:
    """Fills ``.grad`` of all of a module's parameters from forward passes alone.

    Layer space finds the slopes at the outputs of every layer and of every ``SpikingNetwork`` inside the module. What a spiking network's
    output then costs a sample is its product with these slopes, and node space probes the network's neurons at that cost. Parameters that
    belong to neither are probed in weight space. The three kinds of gradients have scales of their own: give them to an optimizer that
    rescales, such as Adam, or to parameter groups.

    Args:
        module, loss, budget: as of ``LayerStep``; the loss is ``[B]``. The budget does not count node space's passes, which run a part
            of the module.
        layers, nodes, weights: how each space probes.
        seed: of all three.

    Attributes:
        layer: layer space's step.
        nodes: node space's steps, by the network's name.
        weight: weight space's step; None where nothing is left for it.

    Raises:
        InputError: as of the three; from ``step``, a network that is called more than once in a pass.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        layers: LayerSpace = LayerSpace(),
        nodes: NodeSpace = NodeSpace(),
        weights: WeightSpace = WeightSpace(),
        budget: Budget | None = None,
        seed: int = 0,
    ):
        if isinstance(module, SpikingNetwork):
            raise InputError("the module is a SpikingNetwork as a whole: train it with NodeStep")
        self.module, self.loss = module, loss
        networks = spiking_parts(module)
        self.layer = LayerStep(module, loss, layers, budget=budget, seed=seed, parts=networks)
        self._costs = {name: _Slopes() for name in networks}
        self.nodes = {name: NodeStep(network, nodes, cost=self._costs[name], seed=seed) for name, network in networks.items()}
        owners: list[nn.Module] = [*self.layer.layers.values(), *networks.values()]
        owned = {id(p) for owner in owners for p in owner.parameters()}
        trained = any(p.requires_grad for p in module.parameters())
        left = [name for name, p in module.named_parameters() if id(p) not in owned and (p.requires_grad or not trained)]
        self.weight = None
        if left:
            self.weight = WeightStep(module, self._mean_loss, weights, parameters=left, budget=budget, seed=seed)

    @property
    def evaluations(self) -> int:
        """Forward passes of the module in the next step."""
        return self.layer.evaluations + (0 if self.weight is None else self.weight.evaluations)

    def step(self, inputs: Any, target: Tensor, progress: float = 0.0) -> StepResult:
        """As ``LayerStep.step``: fill ``.grad`` from inputs and a target ``[B]``, with ``progress`` of the run behind it."""
        result = self.layer.step(inputs, target, progress)
        for name, node in self.nodes.items():
            given, slopes = self.layer.at_parts[name]
            self._costs[name].slopes = slopes.T
            node.step(given, torch.zeros(len(slopes), dtype=torch.int64, device=slopes.device), progress)
        if self.weight is not None:
            # Buffers and random numbers have advanced already.
            with untouched(self.module, self.loss):
                self.weight.step(inputs, target, progress)
        return result

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the module's and the optimizer's own: tensors only."""
        return {f"{prefix}.{key}": x for prefix, method in self._methods() for key, x in method.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit."""
        for prefix, method in self._methods():
            method.load_state_dict({k.removeprefix(f"{prefix}."): x for k, x in state.items() if k.startswith(f"{prefix}.")})

    def _methods(self) -> list[tuple[str, Any]]:
        weight = [] if self.weight is None else [("weight", self.weight)]
        return [("layer", self.layer), *((f"node.{name}", node) for name, node in self.nodes.items()), *weight]

    def _mean_loss(self, output: Any, target: Tensor) -> Tensor:
        return self.loss(output, target).mean()


class _Slopes:
    """A cost that is linear in the readout: as much as the rest of the module makes of a small change."""

    slopes: Tensor

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        return (value * self.slopes).sum(-2)
