"""A layer and its probes through a block of timesteps: lanes of samples of one neuron at a time, their state in registers.

Shapes: U steps, N neurons of which K are probed at V vertices, B samples, padded to whole lanes, M time windows of the next layer.
"""

from polystep_snn.engine.loops.jit import loop
from polystep_snn.engine.loops.lane_functions import sum_of, where
from polystep_snn.engine.loops.lanes import LANES, fill, load, store
from polystep_snn.engine.loops.neurons import neuron_step


@loop
def layer_block(
    first, behind, begins, num_steps, lif, cuba, bias, threshold, current, v, i, trace, decay, counts, spikes, shift, place, pv, pi, ptrace,
    changed, share, reached, sums,
):  # fmt: skip
    """Neurons ``first`` to ``behind`` through a block; states are changed in place.

    Args:
        begins: whether all start from rest; then no state of before is read.
        num_steps: U.
        lif, cuba: tuples of constants; cuba is None for neurons in floating point, and lif without meaning for the chip's.
        bias, threshold: ``[N]`` of the chip's neurons; None for others.
        current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
        v, i, trace: ``[N, B]`` membranes, synapses (None without), sums of spikes that keep ``decay`` a step (None for all).
        counts: ``[N, B]`` spikes where the trace is not their number; else None.
        spikes: ``[U, N, B]``, written; None where nobody needs them.
        shift: ``[U, V]`` of every vertex, or ``[1, V]`` where it is constant.
        place: ``[N]``, which of the probed neurons it is, or -1.
        pv, pi, ptrace: ``[V, K, B]`` of the probed.
        changed: ``[U, V, K, B]`` int8, written: how their spikes differ; None where nobody needs it, as where spikes are None.
        share, reached: ``[U, M]`` and ``[M, V, K, B]``, what a change counts, added up; None where nobody needs it.
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
                total = total + z if decay is None else decay * total + z
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
                if reached is not None and begins:
                    for m in range(reached.shape[0]):
                        store(reached, (m, p, k, b), none)
                for t in range(num_steps):
                    x, s = load(current, (0 if constant else t, n, b)), shift[0 if steady else t, p]
                    fired, own, synapse = neuron_step(own, synapse, x, s, n, lif, cuba, bias, threshold)
                    z = where(fired, one, none)
                    total = total + z if decay is None else decay * total + z
                    if spikes is not None:
                        differs = z - load(spikes, (t, n, b))
                        if changed is not None:
                            store(changed, (t, p, k, b), differs)
                        if reached is not None:
                            for m in range(share.shape[1]):
                                if share[t, m] != none:
                                    store(reached, (m, p, k, b), load(reached, (m, p, k, b)) + share[t, m] * differs)
                store(pv, (p, k, b), own)
                store(ptrace, (p, k, b), total)
                if pi is not None:
                    store(pi, (p, k, b), synapse)
        sums[n] = sum_of(seen)
