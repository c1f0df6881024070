"""Calls of layers that are shifted alike, and who consumes what they give."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from polystep_snn.spaces.layer.credit import bins_of
from polystep_snn.spaces.layer.watch import Call, Layout

# Later layers that are looked at as consumers.
_CONSUMERS = 3


@dataclass
class Group:
    """Calls of one layer that share a direction: of one time window.

    Attributes:
        name: of the layer.
        calls: places in the pass.
        outputs: ``[B, n]``, the mean of what they give.
    """

    name: str
    calls: list[int]
    outputs: Tensor

    @cached_property
    def bins(self) -> Tensor:
        """As of ``credit.bins_of``."""
        return bins_of(self.outputs)

    def consumers(self, groups: "list[Group]", calls: list[Call], head: int | None) -> list[int]:
        """The next calls of up to three other layers."""
        found: dict[str, int] = {}
        for k in range(self.calls[0] + 1, len(calls)):
            name = calls[k].name
            if name != self.name and name not in found and len(found) < _CONSUMERS:
                found[name] = k
        return list(found.values())

    def put(self, slopes: list[Tensor], found: Tensor, layouts: list[Layout], calls: list[Call]) -> None:
        """Write slopes ``[B, n]`` at the outputs of all calls together: each has its part."""
        for k in self.calls:
            slopes[k] = layouts[k].as_given(found / len(self.calls), calls[k].output)


def groups_of(calls: list[Call], layouts: list[Layout], windows: int | None, size: int, head: int | None) -> list[Group]:
    """All calls but the head's, in groups, in the order of their first ones."""
    of: dict[str, list[int]] = {}
    for k, call in enumerate(calls):
        if k != head:
            of.setdefault(call.name, []).append(k)
    groups = []
    for name, places in of.items():
        count = len(places) if windows is None else min(windows, len(places))
        for m in range(count):
            some = places[m * len(places) // count : (m + 1) * len(places) // count]
            outputs = layouts[some[0]].by_sample(calls[some[0]].output, size)
            if len(some) > 1:
                outputs = torch.stack([layouts[k].by_sample(calls[k].output, size) for k in some]).mean(0)
            groups.append(Group(name, some, outputs))
    return sorted(groups, key=lambda group: group.calls[0])


def inputs_of(
    group: Group, groups: list[Group], calls: list[Call], layouts: list[Layout], output: Any, head: int | None, size: int
) -> Tensor:
    """What a group's consumers are given, ``[B, k]``; the module's output where no layer gives it."""
    found = [layouts[k].by_sample(calls[k].given, size) for k in group.consumers(groups, calls, head) if calls[k].given.is_floating_point()]
    if head is None and isinstance(output, Tensor) and output.ndim == 2:
        found.append(output)
    return torch.cat(found, 1) if found else group.outputs.new_zeros(size, 0)
