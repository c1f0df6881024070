"""A layer and its probes through a block of timesteps: a neuron at a time, its samples side by side.

Shapes: U steps, N neurons of which K are probed at V vertices, B samples, M time windows of the next layer.
"""

import numpy as np

from polystep_snn.engine.loops.jit import loop
from polystep_snn.engine.loops.neurons import cuba_step, lif_step


@loop
def layer_block(
    first, behind, lif, cuba, bias, threshold, current, v, i, trace, decay, counts, spikes, shift, where, pv, pi, ptrace, changed, moved,
    share, reached,
):  # fmt: skip
    """Neurons ``first`` to ``behind`` through a block; states are changed in place.

    Args:
        lif, cuba: tuples of constants; cuba is None for neurons in floating point, and lif without meaning for the chip's.
        bias, threshold: ``[N]`` of the chip's neurons; None for others.
        current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
        v, i, trace: ``[N, B]`` membranes, synapses (None without), sums of spikes that keep ``decay`` a step (None for all).
        counts: ``[N, B]`` spikes where the trace is not their number; else None.
        spikes: ``[U, N, B]``, written; None where nobody needs them.
        shift: ``[U, V]`` of every vertex.
        where: ``[N]``, which of the probed neurons it is, or -1.
        pv, pi, ptrace: ``[V, K, B]`` of the probed.
        changed: ``[U, V, K, B]`` int8, written: how their spikes differ; None where nobody needs it.
        moved: ``[V, K, B]`` bool, written: whether they do in this block; None with ``changed``.
        share, reached: ``[U, M]`` and ``[M, V, K, B]``, what a change counts, added up; None where nobody needs it.
    """
    num_steps, num_vertices = shift.shape
    num_samples = v.shape[1]
    one, none = v.dtype.type(1), v.dtype.type(0)
    fires = np.empty(num_samples, v.dtype)
    differs = np.empty(num_samples, v.dtype)
    for n in range(first, behind):
        k = where[n]
        vn, en = v[n], trace[n]
        if moved is not None and k >= 0:
            for p in range(num_vertices):
                for b in range(num_samples):
                    moved[p, k, b] = False
        for t in range(num_steps):
            x = current[t if current.shape[0] > 1 else 0, n]
            for b in range(num_samples):
                before = none if i is None else i[n, b]
                if cuba is None:
                    fired, vn[b], after = lif_step(vn[b], before, x[b], *lif)
                else:
                    fired, vn[b], after = cuba_step(vn[b], before, x[b], bias[n], threshold[n], *cuba)
                if i is not None:
                    i[n, b] = after
                z = one if fired else none
                fires[b] = z
                if decay is None:
                    en[b] += z
                else:
                    en[b] = decay * en[b] + z
            if counts is not None:
                for b in range(num_samples):
                    counts[n, b] += fires[b]
            if spikes is not None:
                for b in range(num_samples):
                    spikes[t, n, b] = fires[b]
            if k < 0:
                continue
            for p in range(num_vertices):
                s = shift[t, p]
                vp, ep = pv[p, k], ptrace[p, k]
                for b in range(num_samples):
                    before = none if pi is None else pi[p, k, b]
                    if cuba is None:
                        fired, vp[b], after = lif_step(vp[b], before, x[b] + s, *lif)
                    else:
                        fired, vp[b], after = cuba_step(vp[b], before, x[b], bias[n] + s, threshold[n], *cuba)
                    if pi is not None:
                        pi[p, k, b] = after
                    z = one if fired else none
                    differs[b] = z - fires[b]
                    if decay is None:
                        ep[b] += z
                    else:
                        ep[b] = decay * ep[b] + z
                if changed is not None:
                    row, flags = changed[t, p, k], moved[p, k]
                    for b in range(num_samples):
                        row[b] = np.int8(differs[b])
                        flags[b] |= differs[b] != none
                if reached is not None:
                    for m in range(share.shape[1]):
                        part, total = share[t, m], reached[m, p, k]
                        if part != none:
                            for b in range(num_samples):
                                total[b] += part * differs[b]
