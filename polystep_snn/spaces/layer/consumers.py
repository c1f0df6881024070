"""Which layer's inputs are all that another layer's outputs reach: found by holding them while the outputs are shifted."""

import torch

from polystep_snn.spaces.layer.groups import Unprobed
from polystep_snn.spaces.layer.passes import Passes

# Of a shift, in units of the layer's spread: large, so that what lies behind does move.
_SHIFT = 2.0


def find_consumers(unprobed: Unprobed, passes: Passes) -> tuple[dict[str, list[int]], int]:
    """By layer, the nearest calls of one other layer through which all that a shift does reaches the output; none for the output itself.

    Returns:
        The calls, and how many passes that took.
    """
    found: dict[str, list[int]] = {}
    count = 0
    # Its own, so that a run that goes on from a checkpoint draws what it would have drawn.
    generator = torch.Generator().manual_seed(0)
    for name in dict.fromkeys(group.name for group in reversed(unprobed.groups)):
        shifts = unprobed.no_shifts()
        for group in unprobed.groups:
            if group.name == name:
                signs = torch.randint(0, 2, group.outputs.shape, generator=generator).to(group.outputs) * 2 - 1
                unprobed.put_shift(shifts, group, signs * _SHIFT * group.outputs.std())
        found[name] = []
        for places in unprobed.candidates(name):
            if _leads_back(name, places, found, unprobed):
                continue
            count += 1
            if torch.equal(passes.again(shifts, held=unprobed.inputs(places)), unprobed.output):
                found[name] = places
                break
    return found, count


def _leads_back(name: str, places: list[int], found: dict[str, list[int]], unprobed: Unprobed) -> bool:
    """Whether the consumers of calls, one after the other, end where they begin."""
    while places and unprobed.head not in places:
        other = unprobed.calls[places[0]].name
        if other == name:
            return True
        places = found.get(other, [])
    return False
