"""The space that suits a module."""

import logging
from typing import Any

from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.hybrid import HybridStep, spiking_parts
from polystep_snn.spaces.layer.kinds import probed_layers
from polystep_snn.spaces.layer.step import LayerStep
from polystep_snn.spaces.node.step import NodeStep
from polystep_snn.spaces.weight.step import WeightStep

_log = logging.getLogger("polystep_snn")


def PolyStep(module: nn.Module, *arguments: Any, **options: Any) -> Any:  # noqa: N802  # it makes what it is called
    """Whatever fills a module's gradients from forward passes alone, by what the module is.

    A ``SpikingNetwork`` is probed in node space, a module that holds some in several spaces (``HybridStep``), one with linear layers,
    convolutions or embeddings in layer space, everything else in weight space. The log says which, but for spiking networks.

    Args:
        module: what is trained.
        arguments, options: of ``NodeStep``, or of ``HybridStep``, ``LayerStep`` or ``WeightStep`` (the loss first).
    """
    if isinstance(module, SpikingNetwork):
        return NodeStep(module, *arguments, **options)
    name = type(module).__name__
    inside = spiking_parts(module)
    if inside:
        _log.info("%s holds spiking networks (%s): each part in its own space", name, ", ".join(inside))
        return HybridStep(module, *arguments, **options)
    try:
        layers = probed_layers(module, None)
    except InputError as error:
        _log.info("%s has no layers that can be probed: weight space (%s)", name, error)
        return WeightStep(module, *arguments, **options)
    _log.info("%s has %d layers that can be probed: layer space", name, len(layers))
    return LayerStep(module, *arguments, **options)
