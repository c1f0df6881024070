r"""From displacements of neurons to gradients of weights: each sample along its own presynaptic activity."""

import torch
from torch import Tensor

from polystep_snn.engine.products import outer
from polystep_snn.polystep.barycenter import barycenter
from polystep_snn.polystep.transport import Transport
from polystep_snn.spaces.node.last_hop import LayerCosts
from polystep_snn.spaces.node.memory import lateness_gradient
from polystep_snn.spaces.node.pass_state import Pass
from polystep_snn.spaces.node.pulled_back import placed, pulled_back


def gradients(layers: list[LayerCosts], done: Pass, transport: Transport, eps: Tensor) -> list[Tensor]:
    """The negative displacements of all layers, pulled back to their weights and biases, in this order; then to recurrent weights; delays.

    Where events arrived the displacements ``[K, M B]`` stand in place of the weights' gradient: what is kept for each event has another
    size in every batch, and must not be compiled anew.
    """
    result, of_recurrent, of_lateness = [], [], []
    plan = done.plan
    for layer, (found, (offsets, _, neurons), wiring) in enumerate(zip(layers, plan.probes, plan.wirings, strict=True)):
        cost, activity, share, bias_share, own_activity, difference = found
        num_probed, batch_size = cost.shape[1:]
        points = offsets / torch.linalg.vector_norm(offsets, dim=1).mean()
        # K of N neurons stand for all: on average over the draws the displacement is that of all neurons.
        scaled = barycenter(
            transport,
            cost,
            eps.to(cost.dtype),
            points * (-wiring.num_neurons / num_probed / batch_size),
        )
        shared = share[:, None, None] * scaled
        if activity is not None and len(activity) < len(scaled):
            shared = shared.sum(0, keepdim=True)
        flat, bias = shared.transpose(0, 1).flatten(1), torch.mv(scaled.sum(2).T, bias_share)
        if activity is None:
            result += [flat, placed(bias, neurons, wiring.num_neurons)]
        else:
            result += pulled_back(wiring, flat, bias, wiring.summed(activity.flatten(0, 1)), neurons)
        if own_activity is not None:
            moved = (scaled / done.num_steps).transpose(0, 1).flatten(1)
            of_recurrent.append(placed(outer(moved, own_activity.flatten(0, 1)), neurons, wiring.num_neurons))
        if difference is not None:
            delays, longest = plan.delays[layer + 1], plan.wirings[layer + 1].max_delay
            assert delays is not None
            of_lateness.append(lateness_gradient(difference, delays, longest))
    return result + of_recurrent + of_lateness
