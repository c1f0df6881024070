r"""From displacements of neurons to gradients of weights: each sample along its own presynaptic activity."""

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from polystep_snn.engine.products import outer
from polystep_snn.polystep.barycenter import barycenter
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.last_hop import LayerCosts
from polystep_snn.spaces.node.pass_state import Pass, Plan


def gradients(layers: list[LayerCosts], done: Pass, transport: Transport, eps: Tensor) -> list[Tensor]:
    """The negative displacements of all layers, pulled back to their weights and biases, in this order.

    Where events arrived the displacements ``[K, M B]`` stand in place of the weights' gradient: what is kept for each event has another
    size in every batch, and must not be compiled anew.
    """
    result = []
    plan, entries = done.plan, done.entries
    for (cost, activity, share, bias_share), (offsets, _, neurons), wiring in zip(layers, plan.probes, plan.wirings, strict=True):
        num_probed, batch_size = cost.shape[1:]
        points = offsets / torch.linalg.vector_norm(offsets, dim=1).mean()
        # K of N neurons stand for all: on average over the draws the displacement is that of all neurons.
        scaled = _barycenter(plan, transport, cost, eps, points * (-wiring.num_neurons / num_probed / batch_size))
        shared = share[:, None, None] * scaled
        if activity is not None and len(activity) < len(scaled):
            shared = shared.sum(0, keepdim=True)
        flat, bias = shared.transpose(0, 1).flatten(1), torch.mv(scaled.sum(2).T, bias_share)
        if activity is None:
            result += [flat, placed(bias, neurons, wiring.num_neurons)]
        elif entries is not None and not result:
            result += [placed(x, neurons, wiring.num_neurons) for x in (entries.outer(flat), bias)]
        else:
            result += pulled_back(wiring, flat, bias, wiring.summed(activity.flatten(0, 1)), neurons)
    return result


def _barycenter(plan: Plan, transport: Transport, cost: Tensor, eps: Tensor, points: Tensor) -> Tensor:
    """``[M, K, B]``."""
    if plan.loops and type(transport) is Softmax:
        from polystep_snn.spaces.node.loop_costs import softmax_displacements

        return softmax_displacements(cost, eps.item(), points.contiguous().numpy())
    return barycenter(transport, cost, eps, points)


def pulled_back(wiring: Wiring, displacement: Tensor, bias: Tensor, activity: Tensor, neurons: Tensor | None) -> list[Tensor]:
    """What displacements of neurons mean for a layer's weights and biases.

    Args:
        displacement: ``[K, R]`` of the probed neurons, for R samples (and time windows).
        bias: ``[K]``, their sums as biases see them.
        activity: ``[R, M]``, what the weights saw.
        neurons: ``[K]``; None for all.
    """
    if wiring.convolution is None:
        weight = outer(displacement, activity)
        return [placed(weight, neurons, wiring.num_neurons), placed(bias, neurons, wiring.num_neurons)]
    geometry = wiring.convolution
    maps = placed(displacement, neurons, wiring.num_neurons).T.reshape(-1, *geometry.output_shape)
    weight = conv2d_weight(activity.reshape(-1, *geometry.input_shape), geometry.weight_shape, maps, geometry.stride, geometry.padding)
    return [weight, placed(bias, neurons, wiring.num_neurons).view(geometry.channels, -1).sum(1)]


def placed(x: Tensor, neurons: Tensor | None, num_neurons: int) -> Tensor:
    """Rows of the probed neurons among zeros for all others."""
    return x if neurons is None else x.new_zeros(num_neurons, *x.shape[1:]).index_copy(0, neurons, x)
