"""Networks with recurrent weights and delays the slow, obvious way, and the definition of chained credit through both.

Nothing is reused between probes, time is not cut into blocks, and every changed spike is priced one by one, in the step in which it
arrives.
"""

import torch

from polystep_snn import MembraneReadout
from tests.reference import naive_over_time
from tests.reference.naive_nodes import lif


def run(network, inputs, layer=None, neuron=None, shift=None):
    """``(value [B, C], received, spikes)`` with ``shift[t]`` added to the current of one neuron.

    ``received[k]``: what layer k receives through its weights, ``[T, B, M]``; ``spikes[k]``: what it sends, ``[T, B, N]``.
    """
    num_steps, batch = inputs.shape[:2]
    depth = len(network.neurons)
    received = [torch.zeros(num_steps, batch, n, dtype=inputs.dtype) for n in network.sizes[:-1]]
    spikes = [torch.zeros(num_steps, batch, n, dtype=inputs.dtype) for n in network.sizes[1:]]
    received[0] = inputs
    states = [(torch.zeros(batch, n, dtype=inputs.dtype),) * 2 for n in network.sizes[1:]]
    peak = torch.full((batch, network.sizes[-1]), -torch.inf, dtype=inputs.dtype)
    membrane = synapse = torch.zeros(batch, network.sizes[-1], dtype=inputs.dtype)
    for t in range(num_steps):
        for k, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            delays = network.delays[k]
            if k:
                for j in range(network.sizes[k]):
                    sent = t - (0 if delays is None else int(delays[j]))
                    if sent >= 0:
                        received[k][t, :, j] = spikes[k - 1][sent, :, j]
            current = received[k][t] @ weight.T + bias
            if str(k) in network.recurrents and t > 0:
                current = current + spikes[k][t - 1] @ network.recurrents[str(k)].T
            if k == layer:
                current[:, neuron] += shift[t]
            if k < depth:
                spikes[k][t], states[k] = lif(current, states[k], network.neurons[k])
            elif isinstance(network.readout, MembraneReadout):
                synapse = network.readout.alpha * synapse + current
                membrane = network.readout.decay * membrane + synapse
                peak = torch.maximum(peak, membrane)
            else:
                spikes[k][t], states[k] = lif(current, states[k], network.readout.neuron)
    if isinstance(network.readout, MembraneReadout):
        return peak if network.readout.maximum else membrane, received, spikes
    value = spikes[-1].sum(0) + network.readout.residual * states[-1][0] / network.readout.neuron.v_th
    return value, received, spikes


@torch.no_grad()
def costs(network, inputs, target, probes, cost):
    """For every layer the costs ``[V, K, B]`` of all probes, each with one full forward pass: what a shift really does."""
    result = []
    for layer, (offsets, windows, neurons) in enumerate(probes):
        chosen = range(network.sizes[layer + 1]) if neurons is None else neurons.tolist()
        table = torch.empty(len(offsets), len(chosen), inputs.shape[1], dtype=inputs.dtype)
        for v, offset in enumerate(offsets):
            for k, j in enumerate(chosen):
                table[v, k] = cost(run(network, inputs, layer, j, windows @ offset)[0].T, target)
        result.append(table)
    return result


@torch.no_grad()
def chained_costs(network, inputs, target, probes, cost, repetitions, price=0.0, every_step=False):
    """The same as chained credit has it. Every vertex shifts one window, windows do not overlap; ``price``: of a hidden neuron's spike;
    ``every_step``: as of ``NodeStep``."""
    value, received, spikes = run(network, inputs)
    over_time = naive_over_time.decides_over_time(network, every_step)
    own = naive_over_time.decided(network, received[-1], cost, target, every_step)[1] if over_time else cost(value.T, target)
    num_steps, batch = inputs.shape[:2]
    tables = [None] * len(probes)
    for layer in reversed(range(len(probes))):
        offsets, windows, neurons = probes[layer]
        chosen = range(network.sizes[layer + 1]) if neurons is None else neurons.tolist()
        weight, bias = network.weights[layer], network.biases[layer]
        integrates = isinstance(network.readout, MembraneReadout)
        table = torch.empty(len(offsets), len(chosen), batch, dtype=inputs.dtype)
        if layer == len(probes) - 1 and over_time:
            slopes = naive_over_time.slopes(network, received[-1], cost, target, every_step, windows)
            tables[layer] = own + torch.tensordot(offsets, slopes, 1)
            continue
        if layer == len(probes) - 1:
            for v, offset in enumerate(offsets):
                for k, j in enumerate(chosen):
                    table[v, k] = cost(run(network, inputs, layer, j, windows @ offset)[0].T, target)
            tables[layer] = table
            continue
        change = torch.empty(len(offsets), len(chosen), num_steps, batch, dtype=inputs.dtype)
        for v, offset in enumerate(offsets):
            for k, j in enumerate(chosen):
                state = (torch.zeros(batch, dtype=inputs.dtype),) * 2
                for t in range(num_steps):
                    current = received[layer][t] @ weight[j] + bias[j] + windows[t] @ offset
                    if str(layer) in network.recurrents and t > 0:
                        current = current + spikes[layer][t - 1] @ network.recurrents[str(layer)][j]
                    z, state = lif(current, state, network.neurons[layer])
                    change[v, k, t] = z - spikes[layer][t, :, j]
        behind, delays = network.weights[layer + 1], network.delays[layer + 1]
        arrives = [[t + (0 if delays is None else int(delays[j])) for t in range(num_steps)] for j in range(network.sizes[layer + 1])]
        if layer == len(probes) - 2 and integrates and not over_time:
            # The readout is linear: its value moves by what arrives, as its membrane keeps it.
            for v in range(len(offsets)):
                for k, j in enumerate(chosen):
                    moved = torch.zeros_like(value)
                    for t in range(num_steps):
                        if arrives[j][t] < num_steps:
                            left = _left(network.readout, num_steps - 1 - arrives[j][t])
                            moved += left * change[v, k, t][:, None] * behind[:, j]
                    table[v, k] = cost((value + moved).T, target)
        else:
            worth = _worth(tables[layer + 1], probes[layer + 1], network.sizes[layer + 2], behind, num_steps)
            for v in range(len(offsets)):
                for k, j in enumerate(chosen):
                    table[v, k] = own
                    for t in range(num_steps):
                        if arrives[j][t] < num_steps:
                            table[v, k] += change[v, k, t] * worth[j, arrives[j][t]]
        table += price * change.sum(2)
        if str(layer) in network.recurrents:
            table = _with_own(table, change, probes[layer], network.recurrents[str(layer)], chosen, num_steps, repetitions)
        tables[layer] = table
    return tables


def _left(readout, steps):
    """What is left on a readout's membrane of a current of 1, so many steps later."""
    membrane, synapse = 1.0, 1.0
    for _ in range(steps):
        synapse = readout.alpha * synapse
        membrane = readout.decay * membrane + synapse
    return membrane


def _worth(table, probes, width, weight, num_steps):
    """What a spike of every input j is worth in every step in which it arrives: ``[M, T, B]``."""
    offsets, windows, neurons = probes
    points = torch.cat([offsets, torch.ones(len(offsets), 1, dtype=table.dtype)], 1)
    chosen = list(range(width)) if neurons is None else neurons.tolist()
    worth = torch.zeros(weight.shape[1], num_steps, table.shape[2], dtype=table.dtype)
    for k, i in enumerate(chosen):
        slopes = torch.linalg.lstsq(points, table[:, k], driver="gelsd").solution[:-1]
        for t in range(num_steps):
            m = int(windows[t].argmax())
            worth[:, t] += weight[i][:, None] * slopes[m] / windows[:, m].sum() * width / len(chosen)
    return worth


def _with_own(direct, change, probes, recurrent, chosen, num_steps, repetitions):
    offsets, windows, _ = probes
    table = direct.clone()
    for m in reversed(range(windows.shape[1])):
        vertices = [v for v in range(len(offsets)) if offsets[v, m] != 0]
        # At first with what arrives in later windows alone, then with what the window's own slopes say of itself.
        for repetition in range(repetitions + 1):
            worth = _worth(table, probes, len(recurrent), recurrent, num_steps)
            found = direct[vertices].clone()
            for n, v in enumerate(vertices):
                for k, j in enumerate(chosen):
                    for t in range(num_steps - 1):
                        if repetition or windows[t + 1].argmax() > m:
                            found[n, k] += change[v, k, t] * worth[j, t + 1]
            table[vertices] = found
    return table
