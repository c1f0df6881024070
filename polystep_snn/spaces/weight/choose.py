"""Which way of evaluating candidates suits a module."""

from typing import Any

from torch import nn

from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.weight.any_module import WholeModule
from polystep_snn.spaces.weight.candidates import Evaluator, log
from polystep_snn.spaces.weight.sequential import Chain
from polystep_snn.spaces.weight.spiking import AnySpiking, Spiking
from polystep_snn.spaces.weight.stages import is_chain


def evaluator_of(module: nn.Module, loss: Any, memory: int, compile: bool = False) -> Evaluator:
    """The evaluator that re-uses most of a module's forward pass.

    Args:
        module: whose candidates are evaluated.
        loss: a ``Loss``; for a ``SpikingNetwork`` a ``Cost``, or None for that of ``PolyStep``.
        memory: bytes that candidates may take at once.
        compile: compile the loops over time of a ``SpikingNetwork``.

    Raises:
        InputError: no loss, or no memory.
    """
    if not isinstance(memory, int) or memory < 1:
        raise InputError(f"memory is {memory}: give a positive number of bytes")
    evaluator: Evaluator
    if isinstance(module, SpikingNetwork):
        dense = all(wiring.is_matrix for wiring in module.wirings) and not getattr(module.readout, "alpha", 0.0)
        if type(module) is SpikingNetwork and module.weight_bits == 32 and dense and not module.has_memory:
            evaluator = Spiking(module, loss, memory, Kernels(compile) if compile else None)
            how = "a changed neuron and what it changes in later layers"
        else:
            evaluator, how = AnySpiking(module, loss, memory), "whole"
    elif loss is None or not callable(loss):
        raise InputError(f"loss is {loss!r}: give loss(output, target), a mean over the batch or one number a sample")
    elif isinstance(module, nn.Sequential) and is_chain(module):
        evaluator, how = Chain(module, loss, memory), "from the changed stage on"
    else:
        evaluator, how = WholeModule(module, loss, memory), "whole"
    log.info("candidates of %s are computed %s", type(module).__name__, how)
    return evaluator
