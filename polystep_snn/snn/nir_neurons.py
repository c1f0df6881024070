"""Neurons of NIR graphs: their continuous constants in steps, and their potentials with rest at 0.

NIR's constants are continuous, and its files need not say how long a step is, nor what a reset does beyond ``v_reset``. What they do not
say is asked for, or taken from what is usual and said aloud.
"""

import logging
from typing import Any, NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree
from polystep_snn.snn.assembly import Assembly
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout

FIRING, INTEGRATING = ("LIF", "CubaLIF", "IF"), ("LI", "I", "CubaLI")
RESETS = ("zero", "subtract")
# Names under which programs put the length of a step into metadata.
_STEP_NAMES = ("dt", "time_step", "timestep")
_USUAL_STEP_S = 1e-3
_log = logging.getLogger("polystep_snn")


class Steps(NamedTuple):
    """How continuous constants become steps: their length ``dt`` in s, and what a spike does to the membrane."""

    dt: float
    reset: str


def steps_of(graph: Tree, nodes: list[tuple[str, Tree]], dt: float | None, reset: str | None) -> Steps:
    """What the caller says, or else the file, or else what its constants fit, or what is usual; the last two are said aloud.

    Raises:
        InputError: no such step or reset; a file that contradicts itself, or whose constants fit no usual step.
    """
    if reset is not None and reset not in RESETS:
        raise InputError(f"reset is {reset!r}: choose one of {', '.join(RESETS)}")
    neurons = [(name, node) for name, node in nodes if node["type"] in FIRING + INTEGRATING]
    said = _said(graph, nodes, "dt")
    told = _said(graph, nodes, "reset")
    if told is not None and told not in RESETS:
        raise InputError(f"the graph says that its reset is {told!r}: name it with reset={' or '.join(map(repr, RESETS))}")
    if dt is None:
        dt = said if said is not None else _fitting_step(neurons)
    if isinstance(dt, bool) or not isinstance(dt, int | float) or not 0 < dt < float("inf"):
        raise InputError(f"dt is {dt!r}: give the length of a step in s")
    # A file of ours says its step, and its neurons restart at 0.
    if reset is None and told is None and said is None and any(node["type"] in FIRING for _, node in neurons):
        _log.warning('the graph does not say what a spike does: taking a reset to v_reset; many programs mean reset="subtract"')
    return Steps(float(dt), reset or told or "zero")


def _said(graph: Tree, nodes: list[tuple[str, Tree]], what: str) -> Any:
    """The one value that metadata of the graph and of its nodes give; None where there is none."""
    names = _STEP_NAMES if what == "dt" else ("reset", "reset_mechanism", "reset_mode")
    found: dict[Any, str] = {}
    for where, owner in [("the graph", graph), *((f"node {name!r}", node) for name, node in nodes)]:
        metadata = owner.get("metadata")
        if not isinstance(metadata, dict):
            continue
        for name in names:
            if name in metadata:
                value = metadata[name]
                value = value.item() if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1 else value
                if isinstance(value, bytes):
                    value = value.decode(errors="replace")
                if what == "dt" and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf")):
                    raise InputError(f"{where} says that {name} is {str(value)[:40]!r}: name the length of a step with the argument dt=")
                found[value if what == "dt" else str(value).lower().removesuffix("ion")] = where
    if len(found) > 1:
        told = ", ".join(f"{where} {value}" for value, where in found.items())
        raise InputError(f"the graph contradicts itself ({told}): name what is meant with the argument {what}=")
    return next(iter(found), None)


def _fitting_step(neurons: list[tuple[str, Tree]]) -> float:
    """The step that constants fit: programs that scale inputs by r write r = tau / dt, or 1 / dt where nothing leaks."""
    steps: set[float] = set()
    longest, shortest = 0.0, float("inf")
    for name, node in neurons:
        r = numbers(name, node, "r")
        if node["type"] in ("IF", "I"):
            if (r == 1).all():
                raise InputError(
                    f"node {name!r}: r is 1, which by NIR's equation scales inputs by the length of a step, but many programs mean 1 a "
                    "step: name the argument dt=1 if so, else the length in s"
                )
            steps |= set(np.round(1 / r, 12).flat) if (r > 0).all() else {0.0}
            continue
        tau = numbers(name, node, "tau_mem" if node["type"].startswith("Cuba") else "tau")
        if tau.min() <= 0:
            raise InputError(f"node {name!r}: a time constant is {tau.min():g}: make it positive")
        longest, shortest = max(longest, float(tau.max())), min(shortest, float(tau.min()))
        if tau.shape == r.shape and (r > 1).all():
            steps |= {float(f"{value:.6g}") for value in (tau / r).flat}
        else:
            steps.add(0.0)
    if longest >= 1:
        raise InputError(f"a time constant is {longest:g} s, or is counted in steps: name the argument dt=1 if so, else the step in s")
    fits = len(steps) == 1 and 1e-6 <= min(steps) <= 0.1
    step = min(steps) if fits else _USUAL_STEP_S
    if not fits and shortest < step:
        raise InputError(f"a time constant is {shortest:g} s, and the graph does not say how long a step is: name it with the argument dt=")
    why = "its constants fit" if fits else "taking"
    _log.warning("the graph does not say how long a step is: %s %g s; name another one with dt=", why, step)
    return step


def neuron(name: str, node: Tree, layer: Assembly, steps: Steps) -> tuple[np.ndarray, np.ndarray, LIFParameters | MembraneReadout]:
    """What multiplies a layer's input and what is added to it then, one number a row of its weights; and its constants.

    Potentials are counted from where membranes restart (of integrators, from 0); what a leak potential adds in a step goes into the bias.
    """
    kind, fires = node["type"], node["type"] in FIRING
    constants: dict[str, Any] = {"dt": steps.dt, "reset": steps.reset}
    gain, leak = spread(name, node, "r", layer), np.zeros(layer.num_rows)
    zero = spread(name, node, "v_reset", layer) if fires and node.get("v_reset") is not None else np.zeros(layer.num_rows)
    if kind in ("IF", "I"):
        if steps.dt != 1 and (gain == 1).all():
            raise InputError(
                f"node {name!r}: r is 1, which by NIR's equation scales inputs by dt = {steps.dt:g}, though many programs that write it "
                f"mean 1 a step: name the argument dt=1 if so, or set r to another value"
            )
        gain, constants["tau_mem_inv"] = gain * steps.dt, 0.0
    else:
        rate = _rate(name, node, "tau_mem" if kind.startswith("Cuba") else "tau", steps.dt)
        if node.get("v_leak") is not None:
            leak = rate * (spread(name, node, "v_leak", layer) - zero)
        gain, constants["tau_mem_inv"] = gain * rate, rate / steps.dt
        if kind.startswith("Cuba"):
            rate = _rate(name, node, "tau_syn", steps.dt)
            gain, constants["tau_syn_inv"] = gain * rate * spread(name, node, "w_in", layer), rate / steps.dt
    gain = _tidy(gain, node)
    if fires:
        v_th = spread(name, node, "v_threshold", layer) - zero
        if not (v_th > 0).all():
            raise InputError(f"node {name!r}: a threshold is {v_th.min():g} above where its membrane restarts: make it positive")
        if len(np.unique(v_th)) > 1:
            gain, leak, v_th = gain / v_th, leak / v_th, np.ones_like(v_th)
        constants["v_th"] = float(v_th[0])
    if leak.any() and kind.startswith("Cuba"):
        # What drives the membrane alone: a bias of the synapse that begins with what it would keep up.
        constants["i_0"] = tuple(leak.repeat(layer.num_neurons // layer.num_rows).tolist())
        leak = leak * constants["tau_syn_inv"] * steps.dt
    try:
        p = LIFParameters(**constants).checked()
        return gain, leak, p if fires else MembraneReadout(p.beta, p.alpha, p.i_0)
    except InputError as error:
        raise InputError(f"node {name!r}: {error}") from None


def _rate(name: str, node: Tree, field: str, dt: float) -> float:
    """``dt / tau``, the same for the whole layer."""
    tau = np.unique(numbers(name, node, field))
    if len(tau) != 1:
        raise InputError(f"node {name!r}: {field} has {len(tau)} different values, but one constant serves a whole layer here")
    if tau[0] <= 0:
        raise InputError(f"node {name!r}: {field} is {tau[0]:g}: make it positive")
    rate = float(_tidy(dt / tau, node)[0])
    if rate > 1:
        raise InputError(f"node {name!r}: {field} is {tau[0]:g} s, shorter than a step of {dt:g} s: name the step with the argument dt=")
    return rate


def _tidy(values: np.ndarray, node: Tree) -> np.ndarray:
    """What was meant by constants that come as float32, in which 0.05 is 0.0500000007: a chip's 4096ths, or a short decimal."""
    if np.asarray(node["r"]).dtype != np.float32:
        return values
    for meant in (np.round(values * 4096) / 4096, np.array([float(f"{x:.5g}") for x in values])):
        values = np.where(np.abs(meant - values) <= 1e-6 * np.abs(values), meant, values)
    return values


def spread(name: str, node: Tree, field: str, layer: Assembly) -> np.ndarray:
    """A constant of a neuron layer, one value a row of its weights."""
    values = numbers(name, node, field)
    if values.size == 1:
        return values.reshape(-1).repeat(layer.num_rows)
    if values.size != layer.num_neurons:
        raise InputError(f"node {name!r}: {field} has {values.size} values for {layer.num_neurons} neurons")
    each = values.reshape(layer.num_rows, -1)
    if (each != each[:, :1]).any():
        raise InputError(f"node {name!r}: {field} differs within a channel, whose neurons share their weights and threshold: make it equal")
    return each[:, 0]


def delay_steps(name: str, node: Tree, count: int, dt: float) -> np.ndarray:
    """The delays of so many neurons in steps, ``[count]`` int64; those of the file are in s, one a neuron or one for all."""
    delays = numbers(name, node, "delay")
    if delays.size not in (1, count):
        raise InputError(f"node {name!r}: delay has {delays.size} values for {count} neurons")
    exact = delays.reshape(-1) / dt
    steps = exact.round()
    bad = (np.abs(exact - steps) > 1e-3) | (steps < 0) | (steps > 2**31)
    if bad.any():
        raise InputError(
            f"node {name!r}: a delay is {exact[bad][0] * dt:g} s, which is {exact[bad][0]:g} steps of {dt:g} s: give whole steps, from 0 on"
        )
    return np.broadcast_to(steps.astype(np.int64), count).copy()


def numbers(name: str, node: Tree, field: str) -> np.ndarray:
    """Finite numbers of a node, in float64."""
    value = node.get(field)
    if value is None or isinstance(value, str | dict):
        raise InputError(f"node {name!r} has no usable {field!r}: give finite numbers")
    values = np.asarray(value)
    if values.dtype.kind not in "biuf" or not values.size or not np.isfinite(values).all():
        raise InputError(f"node {name!r}: {field} contains NaN, infinity or nothing: give finite numbers")
    return values.astype(np.float64)
