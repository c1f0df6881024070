"""Weight space the slow, obvious way: a deep copy of the module for every candidate, changed in place and called.

Shares nothing with the fast paths but the directions: no vmap, no functional call, nothing re-used.
"""

import copy

import torch


@torch.no_grad()
def costs(module, loss, inputs, target, part, offsets):
    """Costs ``[V, P]`` of all candidates at offsets ``[V, P, p]``."""
    num_vertices, num_particles, dim = offsets.shape
    table = torch.empty(num_vertices, num_particles, dtype=torch.float64)
    for v in range(num_vertices):
        for i in range(num_particles):
            candidate = copy.deepcopy(module)
            coordinates = torch.zeros(part.size, dtype=offsets.dtype)
            coordinates[i * dim : (i + 1) * dim] = offsets[v, i]
            parameter = candidate.get_parameter(part.name)
            parameter += part.expand(coordinates).to(parameter.dtype)
            table[v, i] = loss(candidate(*inputs), target).double().mean()
    return table
