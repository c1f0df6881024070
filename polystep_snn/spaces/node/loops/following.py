"""Who follows the probes of each layer but the last through the layers behind, where credit is not handed on."""

from collections.abc import Sequence

from polystep_snn.snn.layer import Layer
from polystep_snn.spaces.node.loops.arrays import Constants, Probing
from polystep_snn.spaces.node.loops.hop import Hop, hops
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.loops.rows import Behind, Follower, follower
from polystep_snn.spaces.node.pass_state import LayerProbes
from polystep_snn.spaces.node.populations import Neuron


def following(
    layers: Sequence[Layer],
    arrays: Sequence[LoopLayer],
    constants: Sequence[Constants],
    probes: Sequence[LayerProbes],
    probing: Sequence[Probing],
    decays: Sequence[float],
    batch_size: int,
    num_blocks: int,
    chunk: int | None,
) -> tuple[list[Follower], Hop | None]:
    """Followers of rows, and a hop from the layer before the last one where output neurons are simulated under all its probes.

    Args:
        layers: what the network computes with.
        arrays, constants, decays: of its layers that spike.
        probes, probing: of all layers.
        batch_size, num_blocks: of a step.
        chunk: rows at a time; None to choose.
    """
    last = len(arrays) - 1
    if not last:
        return [], None
    hop = None
    if hops(arrays[last - 1], arrays[last], num_blocks):
        hop = Hop(arrays[last - 1], arrays[last], layers[last].weight, constants[last], probing[last - 1], num_blocks)
    followers = []
    for k in range(last - (hop is not None)):
        behind = slice(k + 1, last + 1)
        fan = layers[k + 1].wiring.fan(layers[k + 1].weight, probes[k].neurons)
        neurons: list[Neuron] = [x.neuron for x in layers[behind] if x.neuron is not None]
        weights, of = [x.weight for x in layers[behind]], list(constants[behind])
        rest = (of, neurons, weights, list(decays[behind]), batch_size, chunk)
        followers.append(follower(Behind(arrays[k], fan, list(arrays[behind]), *rest)))
    return followers, hop
