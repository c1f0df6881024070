"""Layer space as it is defined, slowly: one sample, one vertex and one weight at a time."""

import copy
import math

import torch


def gradients(module, loss, layers, inputs, target, directions, spreads, radius, points, eps, at_output):
    """Slopes of the mean cost at every layer's weights and biases.

    Args:
        layers: names of the linear layers, in the order of their calls; the last one is the head, where there is ``at_output``.
        directions: by name ``[D, B, n]``; spreads: by name.
        points: ``[V, D]``.
        at_output: slopes ``[B, C]`` at the head's output; None without a head.
    """
    probed = layers if at_output is None else layers[:-1]
    found = {name: [torch.zeros_like(p) for p in module.get_submodule(name).parameters()] for name in layers}
    size = len(target)
    for b in range(size):
        x, y = inputs[b : b + 1], target[b : b + 1]
        seen = {}
        costs = []
        for point in points:
            shifts = {name: radius * spreads[name] * sum(float(c) * directions[name][k, b] for k, c in enumerate(point)) for name in probed}
            costs.append(float(loss(run(module, x, shifts, layers, {}), y)))
        run(module, x, {}, layers, seen)
        lowest = min(costs)
        odds = [math.exp((lowest - c) / eps) for c in costs]
        weights = [o / sum(odds) for o in odds]
        for name in layers:
            if name in probed:
                slope = 0.0
                for k in range(points.shape[1]):
                    along = sum(w * float(point[k]) for w, point in zip(weights, points, strict=True))
                    along *= -eps * len(points) / sum(float(point[k]) ** 2 for point in points)
                    slope = slope + directions[name][k, b] * along / (radius * spreads[name]) / points.shape[1]
            else:
                slope = at_output[b]
            rows, slopes = seen[name].flatten(0, -2), slope.reshape(-1, found[name][0].shape[0])
            for row, s in zip(rows, slopes, strict=True):
                found[name][0] += s[:, None] * row[None] / size
                if len(found[name]) > 1:
                    found[name][1] += s / size
    return found


def along_consumers(module, layers, inputs, directions, spreads, radius, points, at_output, reaches, partners, movements):
    """Slopes ``[B, n]`` at the outputs of every probed layer of a chain, each the consumer of the one before.

    Args:
        reaches: by name, which inputs ``k`` of the next layer output ``j`` reaches, as pairs ``(j, k)``.
        partners, movements: by name, learned credit: of each output which input is its partner ``[n]``, and how far it moves ``[B, n]``.
    """
    probed = layers[:-1]
    found = {name: torch.zeros_like(directions[name][0]) for name in probed}
    for b in range(len(inputs)):
        x, shifted = inputs[b : b + 1], []
        for point in points:
            shifts = {name: radius * spreads[name] * sum(float(c) * directions[name][k, b] for k, c in enumerate(point)) for name in probed}
            seen, gave = {}, {}
            run(module, x, shifts, layers, seen, gave)
            shifted.append((seen, gave))
        slope = at_output[b]
        for place in reversed(range(len(probed))):
            name, consumer = probed[place], layers[place + 1]
            v = module.get_submodule(consumer).weight.T @ slope
            slope = torch.zeros_like(found[name][b])
            for d in range(points.shape[1]):
                size = sum(float(point[d]) ** 2 for point in points)
                pairs = list(zip(points, shifted, strict=True))
                inputs_moved = sum(float(point[d]) / size * seen[consumer].flatten() for point, (seen, _) in pairs)
                outputs_moved = sum(float(point[d]) / size * gave[name].flatten() for point, (_, gave) in pairs)
                left = inputs_moved.clone()
                for j in range(len(slope)):
                    left[partners[name][j]] -= movements[name][b, j] * outputs_moved[j]
                for j in range(len(slope)):
                    rest = sum(float(v[k] * left[k]) for k in range(len(v)) if (j, k) in reaches[name])
                    slope[j] += float(directions[name][d, b, j]) * rest / (radius * spreads[name]) / points.shape[1]
            for j in range(len(slope)):
                slope[j] += movements[name][b, j] * v[partners[name][j]]
            found[name][b] = slope
    return found


def run(module, x, shifts, layers, seen, gave=None):
    """A forward pass of a copy, with outputs shifted; what each layer is given is left in ``seen``, what it gives in ``gave``."""
    module = copy.deepcopy(module)
    for name in layers:
        layer = module.get_submodule(name)
        forward = layer.forward

        def shifted(given, name=name, forward=forward):
            seen[name] = given.clone()
            out = forward(given)
            out = out + shifts[name].reshape(out.shape) if name in shifts else out
            if gave is not None:
                gave[name] = out
            return out

        layer.forward = shifted
    return module(x)
