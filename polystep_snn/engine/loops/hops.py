"""The last layer that is simulated, under every probe of the layer before: lanes of samples at a time, their state in registers.

Shapes: U steps, V vertices, K probed neurons of the layer before, N neurons of this one, B samples, padded to whole lanes, C classes.
"""

import numpy as np

from polystep_snn.engine.loops.jit import loop, product_loop
from polystep_snn.engine.loops.lane_functions import any_of, numbers_of, where
from polystep_snn.engine.loops.lanes import LANES, fill, load, store
from polystep_snn.engine.loops.neurons import neuron_step

# Probed neurons at a time: what they changed stays in a core's first cache while this layer's neurons pass by.
_NEURONS = 4


@loop
def hop_block(
    first, behind, offset, begins, ends, lif, cuba, bias, threshold, decay, current, columns, changed, v, i, trace, base, weight, per_spike,
    per_membrane, values,
):  # fmt: skip
    """This layer under the probes of neurons ``first`` to ``behind``, counted from neuron ``offset`` on.

    Args:
        begins, lif, cuba, bias, threshold, decay: as of ``layer_block``.
        ends: whether values are written; else states are.
        current: ``[U, N, B]``, without a probe.
        columns: ``[K, N]``, the weights that leave the probed neurons.
        changed: ``[U, V, K, B]`` int8, how these neurons' spikes differ.
        v, i, trace: ``[V, K, N, B]``; None where the block is all of the sequence.
        base: ``[N, B]``, traces without a probe.
        weight: ``[C, N]`` of a readout that adds traces up; None where this layer is the readout.
        per_spike, per_membrane: what its traces and membranes count there.
        values: ``[V, K', C, B]`` of K' neurons from ``offset`` on; the unprobed values stand in it already.
    """
    num_steps, num_vertices, _, num_samples = changed.shape
    none, one = columns.dtype.type(0), columns.dtype.type(1)
    moved = np.empty((num_vertices, _NEURONS, num_samples // LANES), np.bool_)
    for start in range(first, behind, _NEURONS):
        stop = min(start + _NEURONS, behind)
        for p in range(num_vertices):
            for k in range(start, stop):
                for b in range(0, num_samples, LANES):
                    some = load(changed, (0, p, offset + k, b))
                    for t in range(1, num_steps):
                        some = some | load(changed, (t, p, offset + k, b))
                    moved[p, k - start, b // LANES] = any_of(some != np.int8(0))
        for n in range(columns.shape[1]):
            for p in range(num_vertices):
                for place in range(start, stop):
                    k = offset + place
                    w = columns[k, n]
                    for b in range(0, num_samples, LANES):
                        if v is None and not moved[p, place - start, b // LANES]:
                            continue
                        own = fill(none) if begins or v is None else load(v, (p, k, n, b))
                        synapse = fill(none) if begins or i is None else load(i, (p, k, n, b))
                        total = fill(none) if begins or trace is None else load(trace, (p, k, n, b))
                        for t in range(num_steps):
                            x = load(current, (t if current.shape[0] > 1 else 0, n, b)) + w * numbers_of(load(changed, (t, p, k, b)), w)
                            fired, own, synapse = neuron_step(own, synapse, x, None, n, lif, cuba, bias, threshold)
                            z = where(fired, one, none)
                            total = total + z if decay is None else decay * total + z
                        if ends:
                            _count(total, own, base, weight, per_spike, per_membrane, values, p, place, n, b)
                        elif v is not None:
                            store(v, (p, k, n, b), own)
                            store(trace, (p, k, n, b), total)
                            if i is not None:
                                store(i, (p, k, n, b), synapse)


@product_loop
def _count(total, own, base, weight, per_spike, per_membrane, values, p, k, n, b):
    """What a neuron's trace and membrane mean for the readout."""
    if weight is None:
        store(values, (p, k, n, b), per_spike * total + per_membrane * own)
    else:
        change = total - load(base, (n, b))
        for c in range(len(weight)):
            store(values, (p, k, c, b), load(values, (p, k, c, b)) + weight[c, n] * change)
