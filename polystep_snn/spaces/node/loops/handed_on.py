"""Costs that need more than the last hop: chained credit from the next layer and from later windows, and those of firing rates."""

from collections.abc import Sequence

from torch import Tensor

from polystep_snn.engine.loops import chained_costs
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import RateTarget
from polystep_snn.snn.layer import Layer
from polystep_snn.spaces.node.chained import slopes_of, worth_of
from polystep_snn.spaces.node.last_hop import LinearEnd, chosen
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.loops.memory import LoopMemory, price_own_spikes
from polystep_snn.spaces.node.loops.over_time import DecidingReadout
from polystep_snn.spaces.node.loops.readout import Readout
from polystep_snn.spaces.node.loops.shape import Shape
from polystep_snn.spaces.node.memory import lateness_gradient
from polystep_snn.spaces.node.pass_state import LayerProbes

# Neurons that are worth a thread.
_GRAIN = 8


def hand_on(
    layers: Sequence[Layer],
    arrays: Sequence[LoopLayer],
    probes: Sequence[LayerProbes],
    fits: Sequence[Tensor],
    readout: Readout,
    rate_target: RateTarget | None,
    shape: Shape,
) -> None:
    """Costs of all layers, the last first, whose direct ones are known.

    Args:
        layers: what the network computes with.
        arrays: of its layers that spike.
        probes: of all layers.
        fits: for each layer that spikes what makes slopes of its costs.
        readout: of the network.
        rate_target: what hidden neurons' own spikes cost.
        shape: of the step.
    """
    for k in reversed(range(len(arrays))):
        own = arrays[k]
        if k + 1 < len(arrays) or isinstance(readout, DecidingReadout):
            behind = layers[k + 1]
            neurons = probes[k].neurons, probes[k + 1].neurons
            worth = worth_of(_slopes_behind(k, arrays, fits, readout), behind.wiring, behind.weight, neurons).contiguous()
            assert own.reached is not None
            given = readout.own.numpy(), own.reached.numpy(), worth.numpy(), own.costs.numpy()
            split(chained_costs, own.costs.shape[1], *given, grain=_GRAIN)
        if rate_target is not None and k < len(layers) - 1:
            price_rates(rate_target, [own], [probes[k]], shape)
        recurrent = layers[k].recurrent
        if recurrent is not None and own.own_reached is not None:
            price_own_spikes(own, fits[k], probes[k].offsets, recurrent, probes[k].neurons)


def _slopes_behind(k: int, arrays: Sequence[LoopLayer], fits: Sequence[Tensor], readout: Readout) -> Tensor:
    """Slopes ``[M, N, B]`` of the costs of the layer behind layer k."""
    if k + 1 < len(arrays):
        return slopes_of(fits[k + 1], arrays[k + 1].costs)
    assert isinstance(readout, DecidingReadout)
    return readout.slopes


def price_rates(rate_target: RateTarget, arrays: Sequence[LoopLayer], probes: Sequence[LayerProbes], shape: Shape) -> None:
    """What hidden neurons' own spikes cost, added to the costs of their probes."""
    real = shape.batch_size
    for layer, p in zip(arrays, probes, strict=False):
        counts = chosen(layer.counts, p.neurons, 0)[:, :real]
        layer.costs[..., :real] += rate_target.of_probes(counts, layer.probed.trace[..., :real], shape.num_steps)


def lateness_gradients(
    layers: Sequence[Layer],
    arrays: Sequence[LoopLayer],
    probes: Sequence[LayerProbes],
    fits: Sequence[Tensor],
    memories: Sequence[LoopMemory | None],
    readout: Readout,
) -> list[Tensor]:
    """Of learned delays, ``[N]`` each, once all costs are known."""
    grads, real = [], len(readout.target)
    for k, memory in enumerate(memories):
        if memory is None or memory.moved is None:
            continue
        behind = layers[k + 1]
        if k + 1 < len(arrays) or isinstance(readout, DecidingReadout):
            slopes = _slopes_behind(k, arrays, fits, readout)
            difference = (memory.moved * worth_of(slopes, behind.wiring, behind.weight, (None, probes[k + 1].neurons))).sum(0)[:, :real]
        else:
            assert isinstance(readout.end, LinearEnd)
            value = readout.end.value([behind.weight], arrays[-1].base)[:, :real]
            difference = readout.end.delay_difference(behind.weight, memory.moved[0][:, :real], value, readout.target, readout.cost)
        assert behind.delays is not None
        grads.append(lateness_gradient(difference, behind.delays, behind.wiring.max_delay))
    return grads
