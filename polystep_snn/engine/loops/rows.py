"""Probes that changed a spike, through the layers behind: a probe and sample at a time, a layer's neurons side by side.

Shapes: U steps, V vertices, K probed neurons, B samples, L layers behind, N their neurons, R rows, C classes.
"""

import numpy as np

from polystep_snn.engine.loops.jit import plain_loop
from polystep_snn.engine.loops.neurons import cuba_step, lif_step


@plain_loop
def rows_block(
    first, behind, which, begun, fan, own, lif, cuba, bias, threshold, decay, weights, currents, spikes,
    v_before, i_before, e_before, v_earlier, i_earlier, e_earlier, v, i, e,
):  # fmt: skip
    """Rows ``first`` to ``behind`` through a block of steps. A tuple has an entry for each layer behind the probed one, the next first.

    Args:
        which: ``[R]``, ``(v K + k) B + b`` of each row.
        begun: so many of them, the first ones, have a state from before; the others begin in that of the unprobed network.
        fan: ``[K, N]``, weights from the probed neurons to the next layer.
        own: ``[U, V K B]`` int8, how the probed neurons' spikes differ.
        lif, cuba: tuples of constants, as of ``layer_block``.
        bias, threshold: tuples of ``[N]``, of the chip's neurons; None for others.
        decay: of the last layer's trace; None where all of it is kept, as it is in the others.
        weights: tuple of ``[N_l, N_{l+1}]`` between the layers behind, one row an input; the first is not used.
        currents, spikes: tuples of ``[U, B, N]`` without the probe.
        v_before, i_before, e_before: tuples of membranes, synapses (None without) and traces ``[B, N]`` without the probe, at the start.
        v_earlier, i_earlier, e_earlier: of the rows that have begun, ``[R', N]``.
        v, i, e: of all rows, ``[R, N]``; written.
    """
    num_layers, num_steps, num_samples, num_probed = len(currents), own.shape[0], currents[0].shape[1], len(fan)
    none, one = fan.dtype.type(0), fan.dtype.type(1)
    widest = 0
    for current in currents:
        widest = max(widest, current.shape[2])
    drive, differs = np.empty(widest, fan.dtype), np.empty(widest, fan.dtype)
    for r in range(first, behind):
        place = which[r]
        b, k = place % num_samples, place // num_samples % num_probed
        column = fan[k]
        for layer in range(num_layers):
            for n in range(currents[layer].shape[2]):
                v[layer][r, n] = v_earlier[layer][r, n] if r < begun else v_before[layer][b, n]
                e[layer][r, n] = e_earlier[layer][r, n] if r < begun else e_before[layer][b, n]
                if i is not None:
                    i[layer][r, n] = i_earlier[layer][r, n] if r < begun else i_before[layer][b, n]
        for t in range(num_steps):
            sign = fan.dtype.type(own[t, place])
            for layer in range(num_layers):
                unprobed, last = currents[layer][t, b], layer == num_layers - 1
                num_neurons = len(unprobed)
                if layer == 0:
                    for n in range(num_neurons):
                        drive[n] = unprobed[n] + sign * column[n]
                else:
                    _arrive(unprobed, differs, weights[layer], drive)
                vr, er = v[layer][r], e[layer][r]
                for n in range(num_neurons):
                    synapse = none if i is None else i[layer][r, n]
                    if cuba is None:
                        fired, vr[n], synapse = lif_step(vr[n], synapse, drive[n], *lif[layer])
                    else:
                        fired, vr[n], synapse = cuba_step(vr[n], synapse, drive[n], bias[layer][n], threshold[layer][n], *cuba[layer])
                    if i is not None:
                        i[layer][r, n] = synapse
                    differs[n] = one if fired else none
                if last and decay is not None:
                    for n in range(num_neurons):
                        er[n] = decay * er[n] + differs[n]
                else:
                    for n in range(num_neurons):
                        er[n] += differs[n]
                if not last:
                    same = spikes[layer][t, b]
                    for n in range(num_neurons):
                        differs[n] -= same[n]


@plain_loop
def _arrive(unprobed, differs, weight, drive):
    """``drive = unprobed + differs @ weight``, of which most differences are 0."""
    for m in range(len(unprobed)):
        drive[m] = unprobed[m]
    for n in range(len(weight)):
        if differs[n] != 0:
            row, sign = weight[n], differs[n]
            for m in range(len(row)):
                drive[m] += sign * row[m]


@plain_loop
def values_of_sums(first, behind, which, e, unprobed, weight, value, out):
    """What a readout that adds up makes of rows.

    Args:
        which: as of ``rows_block``.
        e, unprobed: traces of the last spiking layer, ``[R, N]`` under probes and ``[B, N]`` without.
        weight: ``[N, C]``.
        value: ``[B, C]``, without a probe.
        out: ``[R, C]``, written.
    """
    for r in range(first, behind):
        b = which[r] % len(value)
        row, plain, found = e[r], unprobed[b], out[r]
        for c in range(len(found)):
            found[c] = value[b, c]
        for n in range(len(row)):
            change = row[n] - plain[n]
            if change != 0:
                for c in range(len(found)):
                    found[c] += change * weight[n, c]
