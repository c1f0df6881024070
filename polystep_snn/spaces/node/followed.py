r"""Probes that changed a spike, followed through the layers behind.

Most probes change no spike of their neuron, and then nothing behind it changes either: their cost is that of the unprobed network. The
others are rows: one for each vertex, neuron and sample whose spike train is no longer that of the unprobed network. A row enters in
the block of steps in which its first spike changes, in the state that the unprobed network had before that block, and stays. In the
next layer its changed spikes move the current along the neuron's outgoing weights (a convolution's reach few neurons: only these are
simulated); in layers further down a product of all that changed with the weights does.

Rows go through a block in tiles of one size, the last one filled up with repetitions: shapes stay the same from step to step, memory for
temporaries is bounded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polystep_snn.polystep.cost import Cost
from polystep_snn.snn.neurons import LIFState
from polystep_snn.snn.wiring import Fan, Wiring
from polystep_snn.spaces.node.last_hop import LinearEnd, NeuronEnd
from polystep_snn.spaces.node.populations import Neuron, Population, tick

# A product's; tiles have a multiple of it.
_ROWS = 64
# Numbers of the widest layer in a tile, and rows: half a megabyte stays in a core's cache, and few rows are left to be filled up. A GPU
# wants more at a time.
_NUMBERS = {"cpu": 2**17}
_ROWS_AT_MOST = {"cpu": 2**11}
_MANY = 2**22


class Layers(NamedTuple):
    """The layers that spike behind a probed one, the next first; one entry a layer.

    Attributes:
        fan: weights from the probed neurons to the next layer.
        wirings, weights, neurons, decays: as in ``pass_state.Plan``.
    """

    fan: Fan
    wirings: list[Wiring]
    weights: list[Tensor]
    neurons: list[Neuron]
    decays: list[float]


class Unprobed(NamedTuple):
    """What these layers do without a probe, in a block of U steps.

    Attributes:
        currents: ``[U, B, N]``.
        spikes: ``[U, B, N]``; None where nobody is behind.
    """

    currents: list[Tensor]
    spikes: list[Tensor | None]


class Judge(NamedTuple):
    """What makes costs of rows.

    Attributes:
        end: of the network.
        weight: of its readout.
        last: the unprobed last spiking layer, ``[N, B]``.
        value: ``[C, B]``, the unprobed readout.
        own: ``[B]``, its cost.
        target, cost: as of ``costs.settle``.
    """

    end: LinearEnd | NeuronEnd
    weight: Tensor
    last: Population
    value: Tensor
    own: Tensor
    target: Tensor
    cost: Cost


class Rows(NamedTuple):
    """The probes of a layer that have changed a spike so far.

    Attributes:
        which: ``[R]``, ``(v K + k) B + b``.
        populations: ``[R, N]`` each layer behind; ``[R, P]`` where a convolution reaches P neurons.
    """

    which: Tensor
    populations: list[Population]


def tile_size(layers: Layers, num_probes: int, chunk: int | None) -> int:
    """Rows in a tile: about ``chunk``, by default as many as a cache holds, but no more than there are probes."""
    widest = max(layers.fan.values.shape[1], *(w.num_neurons for w in layers.wirings[1:]), 1)
    kind = layers.fan.values.device.type
    room = max(1, min(_NUMBERS.get(kind, _MANY) // widest, _ROWS_AT_MOST.get(kind, _MANY)))
    return -(-min(chunk or room, num_probes) // _ROWS) * _ROWS


def advance_rows(
    rows: Rows | None,
    layers: Layers,
    unprobed: Unprobed,
    before: list[Population],
    changed: Tensor,
    moved: Tensor,
    tile: int,
    run: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Rows:
    """Rows through a block of steps.

    Args:
        rows: after the block before; None at the start.
        before: the layers' unprobed populations ``[N, B]`` at the beginning of the block.
        changed: ``[U, V, K, B]`` int8, how the probed neurons' spikes differ.
        moved: ``[V, K, B]`` whether one of them does, in this block.
        tile: rows at a time.
        run: compiles what it is given, or does not.
    """
    num_samples = moved.shape[-1]
    moved = moved.flatten()
    if rows is not None:
        moved = moved.index_fill(0, rows.which, False)
    new = moved.nonzero()[:, 0]
    entering = [_of_samples(population, new % num_samples, _targets(layers, new, changed, k)) for k, population in enumerate(before)]
    if rows is not None:
        new = torch.cat([rows.which, new])
        entering = [_joined(pair) for pair in zip(rows.populations, entering, strict=True)]
    if not len(new):
        return Rows(new, entering)
    tiles = [run(_through_block)(layers, unprobed, index, changed, populations) for index, populations in _tiles(Rows(new, entering), tile)]
    return Rows(new, [_mapped(_joined(parts), lambda x: x[: len(new)]) for parts in zip(*tiles, strict=True)])


def row_costs(
    rows: Rows,
    layers: Layers,
    judge: Judge,
    shape: torch.Size,
    tile: int,
    run: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Tensor:
    """Costs ``[V, K, B]`` of all probes of a layer: of every probe which is no row that of the unprobed network.

    Args:
        shape: ``V, K, B``.
    """
    costs = judge.own.expand(shape).flatten()
    for index, populations in _tiles(rows, tile):
        costs[index] = run(_cost_of_tile)(layers, judge, index, shape[1], populations[-1])
    return costs.view(shape)


def _tiles(rows: Rows, tile: int) -> list[tuple[Tensor, list[Population]]]:
    """Rows in tiles of one size; the last row fills what is left over."""
    found = []
    for start in range(0, len(rows.which), tile):

        def part(x: Tensor, start: int = start) -> Tensor:
            return _filled(x[start : start + tile], tile)

        found.append((part(rows.which), [_mapped(population, part) for population in rows.populations]))
    return found


def _filled(x: Tensor, tile: int) -> Tensor:
    """Rows ``[tile, ...]``, the last of ``x`` once and again behind it."""
    return x if len(x) == tile else torch.cat([x, x[-1:].expand(tile - len(x), *x.shape[1:])])


def _through_block(layers: Layers, unprobed: Unprobed, index: Tensor, changed: Tensor, populations: list[Population]) -> list[Population]:
    num_steps, _, num_probed, num_samples = changed.shape
    sample, neuron = index % num_samples, index // num_samples % num_probed
    values = layers.fan.values[neuron]
    own = changed.flatten(1)[:, index].to(values.dtype)
    out: list[Population] = []
    differing: Tensor | None = None
    for k, (population, p, decay) in enumerate(zip(populations, layers.neurons, layers.decays, strict=True)):
        targets = _targets(layers, index, changed, k)
        current, spikes = unprobed.currents[k], unprobed.spikes[k]
        correction = None
        if differing is not None:
            everywhere = _everywhere(differing, _targets(layers, index, changed, k - 1), layers.wirings[k].num_inputs)
            correction = _product(layers.wirings[k], layers.weights[k], everywhere)
        constants = p.rows(targets)
        steps = []
        for t in range(num_steps):
            more = values * own[t][:, None] if correction is None else correction[t]
            z, population = tick(_picked(current[t], sample, targets) + more, population, constants, decay)
            if spikes is not None:
                steps.append(z - _picked(spikes[t], sample, targets))
        differing = torch.stack(steps) if steps else None
        out.append(population)
    return out


def _cost_of_tile(layers: Layers, judge: Judge, index: Tensor, num_probed: int, population: Population) -> Tensor:
    end, value, num_samples = judge.end, judge.value, judge.value.shape[1]
    sample = index % num_samples
    if isinstance(end, NeuronEnd):
        return judge.cost(end.read(population).T, judge.target[sample])
    targets = None
    if len(layers.wirings) == 1 and layers.fan.targets is not None:
        targets = layers.fan.targets[index // num_samples % num_probed]
    change = _everywhere(population.trace - _picked(judge.last.trace.T, sample, targets), targets, end.wiring.num_inputs)
    return judge.cost(value[:, sample] + _product(end.wiring, judge.weight, change).T * end.unit, judge.target[sample])


def _targets(layers: Layers, index: Tensor, changed: Tensor, k: int) -> Tensor | None:
    """The neurons ``[R, P]`` of layer k that each row reaches; None for all."""
    if k or layers.fan.targets is None:
        return None
    _, _, num_probed, num_samples = changed.shape
    return layers.fan.targets[index // num_samples % num_probed]


def _everywhere(differing: Tensor, targets: Tensor | None, num_neurons: int) -> Tensor:
    """What differs in a whole layer, ``[..., R, N]``, of ``[..., R, P]`` in the neurons that rows reach: nothing elsewhere."""
    if targets is None:
        return differing
    # A neuron may be named more than once, but then it is for want of another one, and unchanged.
    return differing.new_zeros(*differing.shape[:-1], num_neurons).scatter_add(-1, targets.expand_as(differing), differing)


def _product(wiring: Wiring, weight: Tensor, x: Tensor) -> Tensor:
    """Weights times ``x [..., R, N]``, always for as many rows at a time: how a product rounds may depend on how many there are."""
    return torch.cat([wiring.multiply(weight, part) for part in x.split(_ROWS, -2)], -2)


def _picked(x: Tensor, sample: Tensor, targets: Tensor | None) -> Tensor:
    """Of ``x [B, N]`` the samples ``[R]``, and of each of them the neurons ``[R, P]``."""
    if targets is None:
        return x.index_select(0, sample)
    # Several times as fast as an index of two dimensions.
    place = sample[:, None] * x.shape[1] + targets
    return x.flatten().index_select(0, place.flatten()).view(targets.shape)


def _of_samples(population: Population, sample: Tensor, targets: Tensor | None) -> Population:
    """Rows of a population ``[N, B]``."""
    return _mapped(population, lambda x: _picked(x.T.contiguous(), sample, targets))


def _mapped(population: Population, fn: Callable[[Tensor], Tensor]) -> Population:
    (v, i), trace = population
    return Population(LIFState(fn(v), None if i is None else fn(i)), fn(trace))


def _joined(parts: tuple[Population, ...]) -> Population:
    """Populations with their rows one after the other."""
    currents = [p.state.i for p in parts if p.state.i is not None]
    state = LIFState(torch.cat([p.state.v for p in parts]), torch.cat(currents) if currents else None)
    return Population(state, torch.cat([p.trace for p in parts]))
