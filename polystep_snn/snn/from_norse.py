"""A Norse ``SequentialState`` of dense, convolutional and LIF layers as a ``SpikingNetwork``."""

from typing import Any

import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.snn.assembly import Assembly
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout

_LIF, _INTEGRATOR = ("LIFBoxCell", "LIFCell"), ("LIBoxCell", "LICell")
# What does nothing where a network only runs.
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_POOLS = (nn.AvgPool2d, nn.LPPool2d)


def from_norse(model: nn.Sequential, input_shape: tuple[int, int, int] | None = None) -> SpikingNetwork:
    """The same network with the same spikes.

    The model alternates ``nn.Linear`` or ``nn.Conv2d`` with ``LIFBoxCell`` or ``LIFCell`` and ends in a dense layer of these (spike-count
    readout) or of ``LIBoxCell`` or ``LICell`` (membrane readout). Models within the model are taken apart; ``nn.Dropout`` and
    ``nn.Identity`` are left out. ``nn.AvgPool2d`` and ``nn.LPPool2d(1, ...)`` may stand before weights, and an
    ``nn.Flatten`` stands where maps end. Norse scales every input by ``dt * tau_mem_inv``; here that factor goes into weights and biases,
    as does that of a mean over squares, so membranes agree to rounding, and spikes wherever a membrane is not within rounding of its
    threshold. A leak potential is moved to 0, with threshold and reset. The surrogate derivative is dropped.

    Args:
        model: ``norse.torch.SequentialState`` (or any ``nn.Sequential`` of the same modules), for inputs ``[B, N]`` or ``[B, C, H, W]``.
        input_shape: channels, height and width of a sample; for a model that begins with a convolution or a pool.

    Returns:
        A network with copies of the weights, in their dtype.

    Raises:
        InputError: a module, an order, a geometry or a constant that has no counterpart; names it.
    """
    modules = _modules(model)
    if not modules:
        raise InputError("the model has 0 modules: give nn.Linear or nn.Conv2d and neurons, in turn")
    if input_shape is None and isinstance(modules[0], (nn.Conv2d, *_POOLS)):
        raise InputError(
            f"module 0 is {type(modules[0]).__name__}, so the input's shape is needed: give input_shape=(channels, height, width)"
        )
    assembly = Assembly(input_shape)
    for k, module in enumerate(modules):
        kind, last = type(module).__name__, k == len(modules) - 1
        where = f"module {k} ({kind})"
        if isinstance(module, nn.Flatten):
            if module.start_dim != 1 or module.end_dim not in (-1, 3):
                raise InputError(
                    f"{where} joins dimensions {module.start_dim} to {module.end_dim}, but samples are flattened whole here: 1 to -1"
                )
            assembly.flatten()
        elif assembly.waits:
            if kind not in _LIF + (_INTEGRATOR if last else ()):
                raise InputError(f"module {k} is {kind}: choose one of {', '.join(_LIF)}" + (f", {', '.join(_INTEGRATOR)}" if last else ""))
            p, added = _parameters(module, where, fires=kind in _LIF)
            assembly.fire(where, p.dt * p.tau_mem_inv, added, p if kind in _LIF else MembraneReadout(p.beta, p.alpha))
        elif isinstance(module, nn.Linear):
            assembly.connect(where, module.weight, module.bias)
        elif isinstance(module, nn.Conv2d):
            if module.padding_mode != "zeros":
                raise InputError(f"{where}: padding_mode is {module.padding_mode!r}, but only 'zeros' has a counterpart: train with it")
            assembly.convolve(where, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups)
        elif isinstance(module, _POOLS):
            _pool(assembly, where, module)
        else:
            raise InputError(f"module {k} is {kind}, expected nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.LPPool2d or nn.Flatten")
    return assembly.network(next(m.weight for m in modules if isinstance(m, nn.Linear | nn.Conv2d)))


def _modules(model: Any) -> list[Any]:
    """The modules of a model, of models within it, and so on; without those that do nothing here."""
    if not isinstance(model, nn.Sequential):
        raise InputError(f"the model is {type(model).__name__}: give a norse.torch.SequentialState, or any nn.Sequential")
    found: list[Any] = []
    for module in model:
        if isinstance(module, nn.Sequential):
            found += _modules(module)
        elif not isinstance(module, _IDENTITIES):
            found.append(module)
    return found


def _pool(assembly: Assembly, where: str, module: nn.AvgPool2d | nn.LPPool2d) -> None:
    stride = module.kernel_size if module.stride is None else module.stride
    if isinstance(module, nn.AvgPool2d):
        assembly.pool(where, module.kernel_size, stride, module.padding, module.divisor_override)
    elif module.norm_type == 1:
        assembly.pool(where, module.kernel_size, stride, 0)
    else:
        raise InputError(f"{where}: norm_type is {module.norm_type:g}, but only 1 is a sum: choose nn.LPPool2d(1, ...) or nn.AvgPool2d")


def _parameters(neuron: Any, where: str, fires: bool) -> tuple[LIFParameters, float]:
    """A neuron's constants, and what its leak potential adds to its input in a step."""
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
        tau_syn_inv = constants["tau_syn_inv"] if hasattr(p, "tau_syn_inv") else None
        return LIFParameters(tau_mem_inv=constants["tau_mem_inv"], tau_syn_inv=tau_syn_inv, dt=float(neuron.dt)).checked(), 0.0
    subtracts = getattr(p, "reset_method", None) is not None and p.reset_method.__name__ == "reset_subtract"
    if not subtracts and constants["v_reset"] != v_leak:
        raise InputError(f"{where}: v_reset is {constants['v_reset']:g} and v_leak {v_leak:g}, but they are one here: make them equal")
    parameters = LIFParameters(
        tau_mem_inv=constants["tau_mem_inv"],
        tau_syn_inv=constants["tau_syn_inv"] if hasattr(p, "tau_syn_inv") else None,
        v_th=constants["v_th"] - v_leak,
        reset="subtract" if subtracts else "zero",
        dt=float(neuron.dt),
    ).checked()
    return parameters, 0.0
