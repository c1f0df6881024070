r"""From what a step has measured to slopes at every layer's outputs.

**Along the consumers.** All that a shift does reaches the cost through the inputs h of one other layer, its consumer, or through the
module's output. The slopes v there are known, from the last layer to the first, and a step shows how h moves. Output j of a sample
reaches some of the inputs only, R[k, j] in {0, 1} (``reach.py``), so that no other input's movement is noise for it. Outputs move by da,
by their own shift and those of layers before::

    p[j] = s[j] v[partner(j)]                                      learned credit (credit.py)
    r[k] = v[k] (dh[k] - sum over j with partner k of s[j] da[j])    what it leaves unexplained
    g[j] = p[j] + u[j] sum_k R[k, j] r[k] / scale

**From costs.** Where the slopes at the module's output are not known, or for an estimate that is unbiased whatever lies behind a layer:
a sample's costs at the vertices become transport weights, and these the slope along its direction; every output gets it, with the sign
of its own shift. Learned credit is a control variate: what it predicts is taken from the costs, as much of it as has been right so far.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polystep_snn.polystep.transport import Transport
from polystep_snn.spaces.layer.arithmetic import Seen
from polystep_snn.spaces.layer.credit import LayerCredit, Share
from polystep_snn.spaces.layer.groups import Group, Unprobed
from polystep_snn.spaces.layer.kinds import at_inputs
from polystep_snn.spaces.layer.reach import Reach
from polystep_snn.spaces.layer.watch import Call

_LARGEST_PREDICTION = 3.0  # in units of what was measured


@dataclass(frozen=True)
class Moves:
    """How the passes at vertices differ from the unprobed one, along each of D directions, for one group.

    Attributes:
        consumer: ``[D, C, B, k]``, inputs of its C calls.
        outputs: ``[D, B, n]``, of the group itself.
    """

    consumer: Tensor
    outputs: Tensor


def moves(unprobed: Unprobed, weights: Tensor, passes: list[list[Call]], outputs: list[Tensor]) -> list[Moves]:
    """Of every group.

    Args:
        weights: as of ``weights_of`` the vertices, on the CPU.
        passes, outputs: calls and the module's output at every vertex.
    """
    found = []
    for k, group in enumerate(unprobed.groups):
        seen = [_seen_by(unprobed, group, *both) for both in zip(passes, outputs, strict=True)]
        # Before the first group nothing is shifted.
        own = group.directions * group.scale if k == 0 else _combined(weights, [unprobed.outputs_of(group, calls) for calls in passes])
        found.append(Moves(_combined(weights, seen), own))
    return found


def weights_of(points: Tensor) -> Tensor:
    """``[D, V]``, how much each of the vertices ``[V, D]`` says of every direction; what the unprobed pass gives falls out."""
    return (points / (points * points).sum(0)).T


def _seen_by(unprobed: Unprobed, group: Group, calls: list[Call], output: Tensor) -> Tensor:
    return unprobed.at_consumer(group, lambda k: calls[k].given, output)


def _combined(weights: Tensor, values: list[Tensor]) -> Tensor:
    """``[D, ...]``, sums of ``[...]`` a vertex, weighed by ``[D, V]``."""
    if len(values) == 2 and len(weights) == 1:
        # Of two vertices, one lies opposite of the other.
        return torch.sub(values[0], values[1]).mul_(weights[0, 0].item())[None]
    return torch.tensordot(weights.to(values[0]), torch.stack(values), 1)


def along_consumers(
    unprobed: Unprobed,
    found: list[Moves],
    credits: dict[str, LayerCredit],
    reaches: dict[str, Reach | None],
    layers: dict[str, nn.Module],
    learn: bool,
) -> list[Tensor]:
    """Slopes ``[B, n]`` at the outputs of every group; learned credit may learn from the step."""
    slopes, arithmetic = unprobed.known_slopes(), unprobed.arithmetic
    result: dict[int, Tensor] = {}
    for place in _backward(unprobed):
        group, moved = unprobed.groups[place], found[place]
        v = _at_consumer(unprobed, group, slopes, layers)
        seen = Seen(group.intervals, group.directions, group.scale, moved.outputs, moved.consumer, v)
        credit, reach = credits[group.name], reaches[group.name]
        table = credit.table(group.outputs.shape[1], v.shape[2], arithmetic)
        result[place] = arithmetic.slopes(seen, table, credit.partners, None if reach is None else reach.pairs)
        if learn:
            credit.learn(seen, arithmetic)
        unprobed.put_slopes(slopes, group, result[place])
    return [result[place] for place in range(len(result))]


def predictions(unprobed: Unprobed, credits: dict[str, LayerCredit], layers: dict[str, nn.Module]) -> list[Tensor]:
    """Slopes ``[B, n]`` at the outputs of every group, as learned credit alone predicts them."""
    slopes = unprobed.known_slopes()
    result: dict[int, Tensor] = {}
    for place in _backward(unprobed):
        group = unprobed.groups[place]
        v = _at_consumer(unprobed, group, slopes, layers).mean(0)
        credit = credits[group.name]
        table = credit.table(group.outputs.shape[1], v.shape[1], unprobed.arithmetic)
        result[place] = torch.zeros_like(group.outputs)
        if table is not None and credit.partners is not None:
            result[place] = table.gather(1, group.intervals.T.long()).T * v[:, credit.partners]
        unprobed.put_slopes(slopes, group, result[place])
    return [result[place] for place in range(len(result))]


def from_costs(
    groups: list[Group], predicted: list[Tensor] | None, costs: Tensor, points: Tensor, transport: Transport, eps: float, share: Share
) -> list[Tensor]:
    """Slopes ``[B, n]`` at the outputs of every group, of costs ``[V, B]``."""
    plain = left = _slopes_along(costs, points, transport, eps)
    part = 0.0
    if predicted is not None:
        pairs = zip(groups, predicted, strict=True)
        told = torch.stack([torch.einsum("dbn,bn->db", group.directions, p) * group.scale for group, p in pairs]).sum(0)
        most = _LARGEST_PREDICTION * plain.abs().max()
        told = told.clamp(-most, most)
        part = share.of(plain, told)
        # What is predicted is taken from the costs before they become weights.
        left = _slopes_along(costs - part * (points @ told), points, transport, eps)
    measured = [torch.einsum("dbn,db->bn", group.directions, left) / (group.scale * len(left)) for group in groups]
    return measured if predicted is None else [m + part * p for m, p in zip(measured, predicted, strict=True)]


def _backward(unprobed: Unprobed) -> Iterator[int]:
    """Places of all groups, those that consume before those that they consume."""
    left, done = list(reversed(range(len(unprobed.groups)))), {unprobed.head}
    while left:
        place = next(k for k in left if done.issuperset(unprobed.groups[k].consumer))
        yield place
        left.remove(place)
        done.update(unprobed.groups[place].calls)


def _slopes_along(costs: Tensor, points: Tensor, transport: Transport, eps: float) -> Tensor:
    """Slopes ``[D, B]`` along the directions."""
    weights = transport(costs, eps)
    return -(points.T @ weights) * (eps * len(points) / (points * points).sum(0))[:, None]


def _at_consumer(unprobed: Unprobed, group: Group, slopes: list[Tensor | None], layers: dict[str, nn.Module]) -> Tensor:
    """Slopes ``[C, B, k]`` at the consumer's inputs, of those at calls' outputs."""

    def at_input(place: int) -> Tensor:
        call, slope = unprobed.calls[place], slopes[place]
        assert slope is not None
        return at_inputs(layers[call.name], call.given, slope)

    assert unprobed.at_output is not None
    return unprobed.at_consumer(group, at_input, unprobed.at_output)
