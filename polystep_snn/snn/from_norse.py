"""A Norse ``SequentialState`` of linear and LIF layers as a ``SpikingNetwork``."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout

_LIF, _INTEGRATOR = ("LIFBoxCell", "LIFCell"), ("LIBoxCell",)


def from_norse(model: nn.Sequential) -> SpikingNetwork:
    """The same network with the same spikes.

    The model alternates ``nn.Linear`` with ``LIFBoxCell`` or ``LIFCell`` and ends in one of these (spike-count readout) or in
    ``LIBoxCell`` (membrane readout). Norse scales every input by ``dt * tau_mem_inv``; here that factor goes into weights and
    biases, so membranes agree to rounding, and spikes wherever a membrane is not within rounding of its threshold. A leak
    potential is moved to 0, with threshold and reset. The surrogate derivative is dropped.

    Args:
        model: ``norse.torch.SequentialState`` (or any ``nn.Sequential`` of the same modules).

    Returns:
        A network with copies of the weights, in their dtype.

    Raises:
        InputError: a module, an order or a constant that has no counterpart; names it.
    """
    modules: list[Any] = list(model)
    if not modules or len(modules) % 2:
        raise InputError(f"the model has {len(modules)} modules: give pairs of nn.Linear and a neuron layer")
    linears, neurons = modules[0::2], modules[1::2]
    for k, (before, after) in enumerate(pairwise(linears)):
        if isinstance(before, nn.Linear) and isinstance(after, nn.Linear) and before.out_features != after.in_features:
            raise InputError(f"module {2 * k} has {before.out_features} outputs, but module {2 * k + 2} takes {after.in_features} inputs")
    converted = []
    for k, (linear, neuron) in enumerate(zip(linears, neurons, strict=True)):
        last = k == len(linears) - 1
        if not isinstance(linear, nn.Linear):
            raise InputError(f"module {2 * k} is {type(linear).__name__}, expected nn.Linear")
        kind = type(neuron).__name__
        if kind not in _LIF + (_INTEGRATOR if last else ()):
            raise InputError(
                f"module {2 * k + 1} is {kind}: choose one of {', '.join(_LIF)}" + (f", {', '.join(_INTEGRATOR)}" if last else "")
            )
        converted.append(_parameters(neuron, f"module {2 * k + 1} ({kind})", fires=kind in _LIF))

    readout = SpikeCountReadout(converted[-1]) if type(neurons[-1]).__name__ in _LIF else MembraneReadout(decay=converted[-1].beta)
    network = SpikingNetwork([linears[0].in_features] + [m.out_features for m in linears], converted[:-1], readout).to(linears[0].weight)
    with torch.no_grad():
        for weight, bias, linear, p in zip(network.weights, network.biases, linears, converted, strict=True):
            gain = p.dt * p.tau_mem_inv
            weight.copy_(linear.weight * gain)
            if linear.bias is not None:
                bias.copy_(linear.bias * gain)
    return network


def _parameters(neuron: Any, where: str, fires: bool) -> LIFParameters:
    p = neuron.p
    constants = {}
    for name in ("tau_mem_inv", "tau_syn_inv", "v_leak", "v_th", "v_reset"):
        value = torch.as_tensor(getattr(p, name, 0.0))
        if value.numel() != 1:
            raise InputError(f"{where}: {name} has {value.numel()} values, but one constant serves a whole layer here")
        number = float(value)
        # Norse's own constants are float32, in which 0.05 is 0.0500000007: seven digits give back what was meant.
        constants[name] = float(f"{number:.7g}") if value.dtype == torch.float32 else number
    v_leak = constants["v_leak"]
    if not fires:
        if v_leak != 0:
            raise InputError(f"{where}: v_leak is {v_leak:g}, but an integrator rests at 0 here: move it into the bias")
        return LIFParameters(tau_mem_inv=constants["tau_mem_inv"], dt=float(neuron.dt)).checked()
    subtracts = getattr(p, "reset_method", None) is not None and p.reset_method.__name__ == "reset_subtract"
    if not subtracts and constants["v_reset"] != v_leak:
        raise InputError(f"{where}: v_reset is {constants['v_reset']:g} and v_leak {v_leak:g}, but they are one here: make them equal")
    return LIFParameters(
        tau_mem_inv=constants["tau_mem_inv"],
        tau_syn_inv=constants["tau_syn_inv"] if hasattr(p, "tau_syn_inv") else None,
        v_th=constants["v_th"] - v_leak,
        reset="subtract" if subtracts else "zero",
        dt=float(neuron.dt),
    ).checked()
