"""What a network does, counted synapse by synapse and step by step, on the slow and obvious chip."""

import numpy as np

from tests.reference.naive_chip import naive_run


def sees(layer, n, m):
    """Index of the stored weight by which neuron n sees input m; None where there is no synapse."""
    if layer.convolution is None:
        return n, m
    (_, height, width), (_, rows, columns) = layer.convolution.input_shape, layer.convolution.output_shape
    channel, y, x = n // (rows * columns), n // columns % rows, n % columns
    i, row, column = m // (height * width), m // width % height, m % width
    ky = row - (y * layer.convolution.stride[0] - layer.convolution.padding[0])
    kx = column - (x * layer.convolution.stride[1] - layer.convolution.padding[1])
    if 0 <= ky < layer.convolution.kernel[0] and 0 <= kx < layer.convolution.kernel[1]:
        return channel, i, ky, kx
    return None


def naive_cost(network, spikes):
    """For each layer sums over all samples: ``dense``, ``effective``, ``active``, ``arrived``, ``spikes``; and ``busy [T, B, layers]`` of
    these pairs (effective, active)."""
    records, _ = naive_run(network, spikes)
    num_steps, num_samples, _ = spikes.shape
    found = []
    busy = np.zeros((num_steps, num_samples, len(network.layers), 2), int)
    sent = spikes
    for k, layer in enumerate(network.layers):
        own = records[k][0]
        counts = dict.fromkeys(("dense", "effective", "active", "arrived", "spikes"), 0)
        synapses = {(n, m): sees(layer, n, m) for n in range(layer.num_neurons) for m in range(layer.num_inputs)}
        for b in range(num_samples):
            for t in range(num_steps):
                met = [0] * layer.num_neurons
                for m in range(layer.num_inputs):
                    delay = 0 if layer.delays is None else int(layer.delays[m])
                    fired = t >= delay and sent[t - delay, b, m]
                    counts["arrived"] += int(fired)
                    for n in range(layer.num_neurons):
                        if synapses[n, m] is not None:
                            counts["dense"] += 1
                            met[n] += int(fired and layer.weight[synapses[n, m]] != 0)
                if layer.recurrent is not None:
                    for j in range(layer.num_neurons):
                        fired = t > 0 and own[t - 1, b, j]
                        counts["arrived"] += int(fired)
                        for n in range(layer.num_neurons):
                            counts["dense"] += 1
                            met[n] += int(fired and layer.recurrent[n, j] != 0)
                counts["effective"] += sum(met)
                counts["active"] += sum(x > 0 for x in met)
                counts["spikes"] += int(own[t, b].sum())
                busy[t, b, k] = sum(met), sum(x > 0 for x in met)
        found.append(counts)
        sent = own
    return found, busy
