"""A Norse ``SequentialState`` of dense, convolutional, LIF and recurrent LIF layers as a ``SpikingNetwork``."""

from typing import Any

import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.snn.assembly import Assembly
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout

_LIF, _INTEGRATOR = ("LIFBoxCell", "LIFCell"), ("LIBoxCell", "LICell")
_RECURRENT = "LIFRecurrentCell"
# Modules that take all steps at once, [T, B, N], and those that take one; their constants are the same.
_WHOLE_SEQUENCES = {"LIF": "LIFCell", "LI": "LICell", "LIFRecurrent": _RECURRENT}
# What has no counterpart, by the first letters of its name: the first entry that fits says why.
_REASONS = {
    "LSNN": "whose thresholds adapt",
    "LIFAdEx": "whose currents adapt and whose membranes rise exponentially",
    "LIFEx": "whose membranes rise exponentially",
    "LIFMC": "whose neurons have several compartments",
    "LIFRefrac": "whose neurons rest after a spike",
    "LIFCorrelation": "whose weights change while it runs",
    "CobaLIF": "whose synapses are conductances",
    "Izhikevich": "whose neurons have a second variable",
}
# What does nothing where a network only runs.
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_POOLS = (nn.AvgPool2d, nn.LPPool2d)


def from_norse(model: nn.Sequential, input_shape: tuple[int, int, int] | None = None) -> SpikingNetwork:
    """The same network with the same spikes.

    The model alternates ``nn.Linear`` or ``nn.Conv2d`` with ``LIFBoxCell`` or ``LIFCell`` and ends in a dense layer of these (spike-count
    readout) or of ``LIBoxCell`` or ``LICell`` (membrane readout). Models within the model are taken apart; ``nn.Dropout`` and
    ``nn.Identity`` are left out. ``nn.AvgPool2d`` and ``nn.LPPool2d(1, ...)`` may stand before weights, and an
    ``nn.Flatten`` stands where maps end.

    A hidden layer may also be a ``LIFRecurrentCell``, which has input weights of its own. Its recurrent weights are taken as they act, the
    diagonal included, which Norse sets to 0 unless told ``autapses=True``. Modules that take whole sequences, ``LIF``, ``LIFRecurrent`` and
    ``LI``, may stand in place of all cells of a dense model.

    Norse scales every input by ``dt * tau_mem_inv``; here that factor goes into weights and biases, as does that of a mean over squares, so
    membranes agree to rounding, and spikes wherever a membrane is not within rounding of its threshold. A leak potential is moved to 0,
    with threshold and reset. The surrogate derivative is dropped.

    Args:
        model: ``norse.torch.SequentialState`` (or any ``nn.Sequential`` of the same modules), for inputs ``[B, N]`` or ``[B, C, H, W]``, or
            ``[T, B, N]`` for whole sequences.
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
    _check_steps(modules)
    assembly = Assembly(input_shape)
    for k, module in enumerate(modules):
        name, last = type(module).__name__, k == len(modules) - 1
        kind, where = _WHOLE_SEQUENCES.get(name, name), f"module {k} ({name})"
        if isinstance(module, nn.Flatten):
            if module.start_dim != 1 or module.end_dim not in (-1, 3):
                raise InputError(
                    f"{where} joins dimensions {module.start_dim} to {module.end_dim}, but samples are flattened whole here: 1 to -1"
                )
            assembly.flatten()
        elif kind == _RECURRENT:
            _recur(assembly, where, module)
        elif assembly.waits:
            if kind not in _LIF + (_INTEGRATOR if last else ()):
                choices = [*_LIF, *(_INTEGRATOR if last else ())]
                raise InputError(f"module {k} is {name}{_reason(name)}: choose one of {', '.join(choices)}")
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
            expected = f"nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.LPPool2d, nn.Flatten or {_RECURRENT}"
            raise InputError(f"module {k} is {name}{_reason(name)}, expected {expected}")
    weights = [getattr(m, "input_weights", None) if _is_recurrent(m) else getattr(m, "weight", None) for m in modules]
    return assembly.network(next(weight for weight in weights if weight is not None))


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


def _is_recurrent(module: Any) -> bool:
    return _WHOLE_SEQUENCES.get(type(module).__name__, type(module).__name__) == _RECURRENT


def _reason(name: str) -> str:
    return next((f", {reason}" for start, reason in _REASONS.items() if name.startswith(start)), "")


def _check_steps(modules: list[Any]) -> None:
    """InputError where some modules take whole sequences and others single steps."""
    names = [type(module).__name__ for module in modules]
    whole = next((k for k, name in enumerate(names) if name in _WHOLE_SEQUENCES), None)
    single = {*_LIF, *_INTEGRATOR, _RECURRENT}
    for k, (name, module) in enumerate(zip(names, modules, strict=True)):
        if whole is not None and (name in single or isinstance(module, (nn.Conv2d, nn.Flatten, *_POOLS))):
            raise InputError(
                f"module {whole} ({names[whole]}) takes whole sequences, but module {k} ({name}) single steps: choose "
                f"{_WHOLE_SEQUENCES[names[whole]]}"
            )


def _recur(assembly: Assembly, where: str, module: Any) -> None:
    """A recurrent cell: input weights, recurrent ones and neurons."""
    if assembly.waits:
        raise InputError(f"{where} has input weights of its own, but weights come before it: multiply both into its input_weights")
    weight, recurrent = module.input_weights, module.recurrent_weights
    if weight.ndim != 2:
        raise InputError(f"{where} has input weights {list(weight.shape)}: give [neurons, inputs]")
    assembly.connect(where, weight, None)
    assembly.recur(where, recurrent, None)
    p, added = _parameters(module, where, fires=True)
    assembly.fire(where, p.dt * p.tau_mem_inv, added, p)


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
