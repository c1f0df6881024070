"""A layer and its probes through a block of timesteps: lanes of samples of one neuron at a time, their state in registers.

Shapes: U steps, N neurons of which K are probed at V vertices, B samples, padded to whole lanes, M time windows of the next layer.
"""

from polystep_snn.engine.loops.jit import loop
from polystep_snn.engine.loops.lane_functions import any_of, sum_of, where
from polystep_snn.engine.loops.lanes import LANES, fill, load, store
from polystep_snn.engine.loops.neurons import neuron_step


@loop
def _traced(total, z, decay, traced, t, n):
    """A trace after spikes z of neuron n in step t."""
    if traced is not None:
        return total + traced[t, n] * z
    return total + z if decay is None else decay * total + z


@loop
def _clear(reached, p, k, b):
    if reached is not None:
        for m in range(reached.shape[0]):
            store(reached, (m, p, k, b), reached.dtype.type(0))


@loop
def _count(reached, share, differs, t, p, k, b):
    """Add what a change in step t counts in each window."""
    if reached is not None:
        which = k if share.shape[1] > 1 else 0
        for m in range(share.shape[2]):
            if share[t, which, m] != share.dtype.type(0):
                store(reached, (m, p, k, b), load(reached, (m, p, k, b)) + share[t, which, m] * differs)


@loop
def layer_block(
    first, behind, begins, num_steps, lif, cuba, bias, threshold, current, v, i, trace, decay, traced, counts, spikes, shift, starts, place,
    pv, pi, ptrace, changed, share, reached, own_share, own_reached, sums,
):  # fmt: skip
    """Neurons ``first`` to ``behind`` through a block; states are changed in place.

    Args:
        begins: whether all start from rest; then no state of before is read.
        num_steps: U.
        lif, cuba: tuples of constants; cuba is None for neurons in floating point, and lif without meaning for the chip's.
        bias, threshold: ``[N]`` of the chip's neurons; None for others.
        current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
        v, i, trace: ``[N, B]`` membranes, synapses (None without), sums of spikes that keep ``decay`` a step (None for all).
        traced: ``[U, N]``, what a spike adds to the trace instead; None for ``decay``.
        counts: ``[N, B]`` spikes where the trace is not their number; else None.
        spikes: ``[U, N, B]``, written; None where nobody needs them.
        shift: ``[U, V]`` of every vertex, or ``[1, V]`` where it is constant.
        starts: ``[V]``, the step of this block in which each vertex begins to shift; until then a probe is as the neuron itself.
        place: ``[N]``, which of the probed neurons it is, or -1.
        pv, pi, ptrace: ``[V, K, B]`` of the probed.
        changed: ``[U, V, K, B]`` int8, written: how their spikes differ; None where nobody needs it, as where spikes are None.
        share, reached: ``[U, K, M]`` or ``[U, 1, M]``, and ``[M, V, K, B]``: what a change counts, added up; None where nobody needs it.
        own_share, own_reached: the same of the layer's own windows.
        sums: ``[N]``, of all currents, written: finite where they are.
    """
    num_vertices = shift.shape[1]
    constant, steady = current.shape[0] == 1, shift.shape[0] == 1
    one, none = v.dtype.type(1), v.dtype.type(0)
    for n in range(first, behind):
        k = place[n]
        seen = fill(none)
        for b in range(0, v.shape[1], LANES):
            own = fill(none) if begins else load(v, (n, b))
            synapse = fill(none) if begins or i is None else load(i, (n, b))
            total = fill(none) if begins else load(trace, (n, b))
            count = fill(none) if begins or counts is None else load(counts, (n, b))
            for t in range(num_steps):
                x = load(current, (0 if constant else t, n, b))
                if t == 0 or not constant:
                    seen = seen + x
                fired, own, synapse = neuron_step(own, synapse, x, None, n, lif, cuba, bias, threshold)
                z = where(fired, one, none)
                total = _traced(total, z, decay, traced, t, n)
                if counts is not None:
                    count = count + z
                if spikes is not None:
                    store(spikes, (t, n, b), z)
            store(v, (n, b), own)
            store(trace, (n, b), total)
            if i is not None:
                store(i, (n, b), synapse)
            if counts is not None:
                store(counts, (n, b), count)
            for p in range(num_vertices if k >= 0 else 0):
                own = fill(none) if begins else load(pv, (p, k, b))
                synapse = fill(none) if begins or pi is None else load(pi, (p, k, b))
                total = fill(none) if begins else load(ptrace, (p, k, b))
                if begins:
                    _clear(reached, p, k, b)
                    _clear(own_reached, p, k, b)
                if starts[p] >= num_steps:
                    # Nothing is shifted yet.
                    store(pv, (p, k, b), load(v, (n, b)))
                    store(ptrace, (p, k, b), load(trace, (n, b)))
                    if pi is not None:
                        store(pi, (p, k, b), load(i, (n, b)))
                    if changed is not None:
                        for t in range(num_steps):
                            store(changed, (t, p, k, b), fill(none))
                    continue
                for t in range(num_steps):
                    x, s = load(current, (0 if constant else t, n, b)), shift[0 if steady else t, p]
                    fired, own, synapse = neuron_step(own, synapse, x, s, n, lif, cuba, bias, threshold)
                    z = where(fired, one, none)
                    total = _traced(total, z, decay, traced, t, n)
                    if spikes is not None:
                        differs = z - load(spikes, (t, n, b))
                        if changed is not None:
                            store(changed, (t, p, k, b), differs)
                        if (reached is not None or own_reached is not None) and any_of(differs != none):
                            _count(reached, share, differs, t, p, k, b)
                            _count(own_reached, own_share, differs, t, p, k, b)
                store(pv, (p, k, b), own)
                store(ptrace, (p, k, b), total)
                if pi is not None:
                    store(pi, (p, k, b), synapse)
        sums[n] = sum_of(seen)


@loop
def drive_step(first, behind, begins, lif, cuba, bias, threshold, current, own_current, v, i, spikes):
    """Neurons ``first`` to ``behind`` through one step in which their own layer's spikes arrive as well.

    Args:
        begins, lif, cuba, bias, threshold: as of ``layer_block``.
        current: ``[N, B]``; gets what the own spikes add.
        own_current: ``[N, B]``, that.
        v, i: ``[N, B]``; i is None without synapses.
        spikes: ``[N, B]``, written.
    """
    one, none = v.dtype.type(1), v.dtype.type(0)
    for n in range(first, behind):
        for b in range(0, v.shape[1], LANES):
            x = load(current, (n, b)) + load(own_current, (n, b))
            own = fill(none) if begins else load(v, (n, b))
            synapse = fill(none) if begins or i is None else load(i, (n, b))
            fired, own, synapse = neuron_step(own, synapse, x, None, n, lif, cuba, bias, threshold)
            store(current, (n, b), x)
            store(v, (n, b), own)
            store(spikes, (n, b), where(fired, one, none))
            if i is not None:
                store(i, (n, b), synapse)
