"""Node space the slow, obvious way: one full forward pass of the whole network for every neuron and vertex.

Shares nothing with the fast pass but the weights: the neurons' equations are written out again, samples go one batch at a time,
and nothing is reused between probes.
"""

import torch

from polystep_snn import MembraneReadout


def lif(x, state, p):
    """One step; ``state`` is (v, i)."""
    v, i = state
    i = (1 - p.dt * p.tau_syn_inv) * i + x if p.tau_syn_inv is not None else x
    v = p.beta * v + i
    if p.v_min is not None:
        v = torch.maximum(v, torch.tensor(p.v_min, dtype=v.dtype))
    if p.v_max is not None:
        v = torch.minimum(v, torch.tensor(p.v_max, dtype=v.dtype))
    z = (v > p.v_th).to(v.dtype)
    v = v * (1 - z) if p.reset == "zero" else v - z * p.v_th
    return z, (v, i)


def tied(network, layer):
    """Which weight leads from each input to each neuron of a layer: ``[N, M]`` indices into the flat weights, -1 where none does."""
    wiring, weight = network.wirings[layer], network.weights[layer]
    pool, seen = 1, (wiring.num_inputs, 1, 1)
    if wiring.pool:
        pool, seen = wiring.pool.size, wiring.pool.output_shape
    if wiring.convolution:
        seen = wiring.convolution.input_shape
    index = torch.full((wiring.num_neurons, wiring.num_inputs), -1)
    for c in range(seen[0]):
        for y in range(seen[1] * pool):
            for x in range(seen[2] * pool):
                source = (c * seen[1] * pool + y) * seen[2] * pool + x
                py, px = y // pool, x // pool
                if wiring.convolution is None:
                    index[:, source] = torch.arange(len(weight)) * weight.shape[1] + (c * seen[1] + py) * seen[2] + px
                    continue
                geometry = wiring.convolution
                channels, height, width = geometry.output_shape
                for o in range(channels):
                    for row in range(height):
                        for column in range(width):
                            dy = py + geometry.padding[0] - row * geometry.stride[0]
                            dx = px + geometry.padding[1] - column * geometry.stride[1]
                            if 0 <= dy < geometry.kernel[0] and 0 <= dx < geometry.kernel[1]:
                                tap = ((o * seen[0] + c) * geometry.kernel[0] + dy) * geometry.kernel[1] + dx
                                index[(o * height + row) * width + column, source] = tap
    return index


def matrix(network, layer):
    """A layer's weights written out, ``[N, M]``, and its biases ``[N]``."""
    index = tied(network, layer)
    weight = network.weights[layer].detach().flatten()
    bias = network.biases[layer].detach()
    return torch.where(index >= 0, weight[index.clamp(min=0)], 0.0), bias.repeat_interleave(len(index) // len(bias))


def forward(network, inputs, residual=None, layer=None, neuron=None, shift=None, matrices=None):
    """Readout value ``[B, C]`` for ``inputs [T, B, N]``, with ``shift[t]`` added to the current of one neuron of one layer."""
    batch = inputs.shape[1]
    states = [(torch.zeros(batch, n, dtype=inputs.dtype),) * 2 for n in network.sizes[1:]]
    count = torch.zeros(batch, network.sizes[-1], dtype=inputs.dtype)
    membrane = torch.zeros_like(count)
    matrices = [matrix(network, k) for k in range(len(network.linears))] if matrices is None else matrices
    for t, x in enumerate(inputs):
        for k, (weight, bias) in enumerate(matrices):
            current = x @ weight.T + bias
            if k == layer:
                current[:, neuron] += shift[t]
            if k < len(network.neurons):
                x, states[k] = lif(current, states[k], network.neurons[k])
            elif isinstance(network.readout, MembraneReadout):
                membrane = network.readout.decay * membrane + current
            else:
                z, states[k] = lif(current, states[k], network.readout.neuron)
                count = count + z
    if isinstance(network.readout, MembraneReadout):
        return membrane
    share = network.readout.residual if residual is None else residual
    return count + share * states[-1][0] / network.readout.neuron.v_th


@torch.no_grad()
def costs(network, inputs, target, probes, cost, residual=None, price=0.0):
    """For every layer the costs ``[V, K, B]``, by brute force; ``price``: of every spike of a hidden neuron that is probed itself."""
    result = []
    received = presynaptic(network, inputs)
    matrices = [matrix(network, k) for k in range(len(network.linears))]
    for layer, (offsets, windows, neurons) in enumerate(probes):
        chosen = range(network.sizes[layer + 1]) if neurons is None else neurons.tolist()
        table = torch.empty(len(offsets), len(chosen), inputs.shape[1], dtype=inputs.dtype)
        for v, offset in enumerate(offsets):
            for k, j in enumerate(chosen):
                value = forward(network, inputs, residual, layer, j, windows @ offset, matrices)
                table[v, k] = cost(value.T, target)
                if price and layer < len(network.linears) - 1:
                    change = spikes(network, received, layer, j, windows @ offset) - received[layer + 1][:, :, j]
                    table[v, k] += price * change.sum(0)
        result.append(table)
    return result


def spikes(network, received, layer, neuron, shift):
    """Spikes ``[T, B]`` of a hidden neuron with ``shift[t]`` added to its current."""
    weight, bias = matrix(network, layer)
    state, out = (torch.zeros(received[layer].shape[1], dtype=weight.dtype),) * 2, []
    for x, amount in zip(received[layer], shift, strict=True):
        z, state = lif(x @ weight[neuron] + bias[neuron] + amount, state, network.neurons[layer])
        out.append(z)
    return torch.stack(out)


@torch.no_grad()
def chained_costs(network, inputs, target, probes, cost, residual=None, price=0.0):
    """The same where credit is handed on from layer to layer: only layers that no spike leaves are followed to the readout."""
    tables = costs(network, inputs, target, probes, cost, residual, price)
    own = cost(forward(network, inputs, residual).T, target)
    received = presynaptic(network, inputs)
    for layer in reversed(range(len(network.neurons) - isinstance(network.readout, MembraneReadout))):
        (offsets, windows, neurons), (next_offsets, next_windows, next_neurons) = probes[layer], probes[layer + 1]
        behind, _ = matrix(network, layer + 1)
        here = range(behind.shape[1]) if neurons is None else neurons.tolist()
        there = range(len(behind)) if next_neurons is None else next_neurons.tolist()
        points = torch.cat([next_offsets, torch.ones(len(next_offsets), 1, dtype=inputs.dtype)], 1)
        slopes = torch.stack([torch.linalg.lstsq(points, tables[layer + 1][:, k], driver="gelsd").solution[:-1] for k in range(len(there))])
        # The smallest worth of a spike in every step, [K', T, B], that explains the slopes of shifts along the windows.
        worth = torch.linalg.lstsq(next_windows.T.expand(len(there), -1, -1), slopes, driver="gelsd").solution
        for v, offset in enumerate(offsets):
            for k, j in enumerate(here):
                probed = spikes(network, received, layer, j, windows @ offset)
                tables[layer][v, k] = own
                for t in range(len(inputs)):
                    change = probed[t] - received[layer + 1][t, :, j]
                    tables[layer][v, k] += price * change
                    for n, i in enumerate(there):
                        tables[layer][v, k] += change * behind[i, j] * worth[n, t] * len(behind) / len(there)
    return tables


@torch.no_grad()
def gradients(network, inputs, target, probes, cost, transport, eps, residual=None, price=0.0):
    """For every layer ``(weight.grad, bias.grad)``, one particle at a time."""
    num_steps, batch = inputs.shape[:2]
    received = presynaptic(network, inputs)
    result = []
    for layer, (table, (offsets, windows, neurons)) in enumerate(
        zip(costs(network, inputs, target, probes, cost, residual, price), probes, strict=True)
    ):
        index = tied(network, layer)
        width = len(index)
        chosen = range(width) if neurons is None else neurons.tolist()
        weight, bias = torch.zeros(index.shape, dtype=inputs.dtype), torch.zeros(width, dtype=inputs.dtype)
        points = offsets / offsets.norm(dim=1).mean()
        linear_end = layer == len(network.linears) - 1 and isinstance(network.readout, MembraneReadout)
        for k, j in enumerate(chosen):
            for b in range(batch):
                displacement = transport(table[:, k, b][:, None], eps)[:, 0] @ points
                for m in range(windows.shape[1]):
                    share = windows[:, m]
                    if linear_end:
                        share = network.readout.decay ** torch.arange(num_steps - 1, -1, -1, dtype=inputs.dtype)
                        share = share * num_steps / share.sum()
                    activity = (share[:, None] * received[layer][:, b]).sum(0) / num_steps
                    weight[j] -= displacement[m] * activity / batch * width / len(chosen)
                    bias[j] -= displacement[m] * share.sum() / num_steps / batch * width / len(chosen)
        shared = torch.zeros_like(network.weights[layer]).flatten()
        shared.index_add_(0, index[index >= 0], weight[index >= 0])
        result.append((shared.view_as(network.weights[layer]), bias.view(len(network.biases[layer]), -1).sum(1)))
    return result


def presynaptic(network, inputs):
    """What each layer receives: ``[T, B, N_l]``."""
    received = [inputs]
    for k, p in enumerate(network.neurons):
        weight, bias = matrix(network, k)
        state = (torch.zeros(inputs.shape[1], len(weight), dtype=inputs.dtype),) * 2
        out = []
        for x in received[-1]:
            z, state = lif(x @ weight.T + bias, state, p)
            out.append(z)
        received.append(torch.stack(out))
    return received
