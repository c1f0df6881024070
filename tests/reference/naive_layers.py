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
                    slope = slope + directions[name][k, b] * along / (radius * spreads[name])
            else:
                slope = at_output[b]
            rows, slopes = seen[name].flatten(0, -2), slope.reshape(-1, found[name][0].shape[0])
            for row, s in zip(rows, slopes, strict=True):
                found[name][0] += s[:, None] * row[None] / size
                if len(found[name]) > 1:
                    found[name][1] += s / size
    return found


def run(module, x, shifts, layers, seen):
    """A forward pass of a copy, with outputs shifted; what each layer is given is left in ``seen``."""
    module = copy.deepcopy(module)
    for name in layers:
        layer = module.get_submodule(name)
        forward = layer.forward

        def shifted(given, name=name, forward=forward):
            seen[name] = given.clone()
            out = forward(given)
            return out + shifts[name].reshape(out.shape) if name in shifts else out

        layer.forward = shifted
    return module(x)
