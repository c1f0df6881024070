"""A network of CUBA neurons, one neuron after the other, in Python's integers: slow and obvious. The simulator must equal it.

Written from the equations at the top of ``hardware/fixed_point.py``, and without its code::

    a = sum of the weights whose input fired ``delay`` steps ago, and of the recurrent weights whose neuron fired a step ago,
        times 2^weight_exp
    u <- toward_zero(u * (4096 - (du + 1)) / 4096) + 64 a     above 2^23 minus 2^24, at -2^23 or below plus 2^24, once
    v <- toward_zero(v * (4096 - dv) / 4096) + u + bias       held within plus or minus (2^23 - 1)
    fired = v > 64 vth; then v <- 0

A neuron of a convolution at row y and column x has a weight for input channel i, row y * stride + ky - padding, and column likewise.
"""

import numpy as np


def toward_zero(x, d):
    kept = abs(x) * (4096 - d) // 4096
    return kept if x >= 0 else -kept


def wrapped_once(x):
    if x > 2**23:
        return x - 2**24
    if x <= -(2**23):
        return x + 2**24
    return x


class NaiveNeuron:
    def __init__(self, weights, vth, bias, du, dv):
        self.weights, self.vth, self.bias, self.du, self.dv = weights, vth, bias, du, dv
        self.u = self.v = 0

    def step(self, inputs):
        a = sum(w for w, fired in zip(self.weights, inputs, strict=True) if fired)
        self.u = wrapped_once(toward_zero(self.u, self.du + 1) + 64 * a)
        v = toward_zero(self.v, self.dv) + self.u + self.bias
        v = max(-(2**23) + 1, min(2**23 - 1, v))
        fired = v > 64 * self.vth
        self.v = 0 if fired else v
        return fired


def naive_weights(layer, n):
    """Of neuron n, a weight for every input."""
    scale = 2**layer.weight_exp
    if layer.convolution is None:
        return [scale * w for w in layer.weight[n].tolist()]
    (inputs, height, width), (_, rows, columns) = layer.convolution.input_shape, layer.convolution.output_shape
    channel, y, x = n // (rows * columns), n // columns % rows, n % columns
    weights = [0] * (inputs * height * width)
    for i in range(inputs):
        for ky in range(layer.convolution.kernel[0]):
            for kx in range(layer.convolution.kernel[1]):
                row = y * layer.convolution.stride[0] + ky - layer.convolution.padding[0]
                column = x * layer.convolution.stride[1] + kx - layer.convolution.padding[1]
                if 0 <= row < height and 0 <= column < width:
                    weights[(i * height + row) * width + column] = scale * int(layer.weight[channel, i, ky, kx])
    return weights


class NaiveLayer:
    """Remembers all that it was ever sent, and what its neurons did in the step before."""

    def __init__(self, layer):
        own = np.zeros((layer.num_neurons, 0), np.int8) if layer.recurrent is None else layer.recurrent
        self.neurons = [
            NaiveNeuron(
                naive_weights(layer, n) + [2**layer.weight_exp * w for w in own[n].tolist()],
                int(layer.vth[n]),
                int(layer.bias_mant[n]) * 2**layer.bias_exp,
                layer.du,
                layer.dv,
            )
            for n in range(layer.num_neurons)
        ]
        self.delays = [0] * layer.num_inputs if layer.delays is None else layer.delays.tolist()
        self.sent = []
        self.own = [False] * own.shape[1]

    def step(self, inputs):
        self.sent.append(inputs)
        now = len(self.sent) - 1
        arrived = [now >= delay and self.sent[now - delay][m] for m, delay in enumerate(self.delays)]
        fired = [neuron.step(arrived + self.own) for neuron in self.neurons]
        self.own = fired if self.own else []
        return fired


def naive_run(network, spikes):
    """``[(z, u, v), ...]`` of each layer, int64 [T, B, N] each, and the readout's values [B, C]."""
    num_steps, num_samples, _ = spikes.shape
    records = [np.zeros((3, num_steps, num_samples, layer.num_neurons), np.int64) for layer in network.layers]
    values = []
    for b in range(num_samples):
        layers = [NaiveLayer(layer) for layer in network.layers]
        for t in range(num_steps):
            signal = spikes[t, b].tolist()
            for record, layer in zip(records, layers, strict=True):
                signal = layer.step(signal)
                record[:, t, b] = [signal, [neuron.u for neuron in layer.neurons], [neuron.v for neuron in layer.neurons]]
        fired, _, membranes = records[-1][:, :, b]
        values.append({"count": fired.sum(0), "membrane": membranes[-1], "max": membranes.max(0)}[network.readout])
    return records, np.array(values)
