"""What the unprobed pass has shown: calls of layers that are shifted alike, and who consumes what they give."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
        directions: ``[D, B, n]``, signs, drawn anew in every step.
        scale: of a shift by one.
    """

    name: str
    calls: list[int]
    outputs: Tensor
    directions: Tensor = field(init=False)
    scale: Tensor = field(init=False)

    @cached_property
    def bins(self) -> Tensor:
        """As of ``credit.bins_of``."""
        return bins_of(self.outputs)

    def shift(self, point: Tensor) -> Tensor:
        """``[B, n]`` at a vertex ``[D]``."""
        return torch.tensordot(point, self.directions, 1) * self.scale


@dataclass(frozen=True)
class Unprobed:
    """The pass without a shift.

    Attributes:
        calls: of all layers, in order.
        layouts: one a call.
        at_output: slopes ``[B, C]`` of each sample's cost at the module's output; None where they are not known.
        head: the place of the call that gives the module's output, where its slopes are known; it is not probed.
        cost: each sample's, ``[B]``.
        groups: all calls but the head's, in the order of their first ones.
    """

    calls: list[Call]
    layouts: list[Layout]
    at_output: Tensor | None
    head: int | None
    cost: Tensor
    groups: list[Group]

    @classmethod
    def of(
        cls, calls: list[Call], layouts: list[Layout], output: Any, at_output: Tensor | None, cost: Tensor, windows: int | None
    ) -> "Unprobed":
        head = len(calls) - 1 if at_output is not None and calls[-1].output is output else None
        places: dict[str, list[int]] = {}
        for k, call in enumerate(calls):
            if k != head:
                places.setdefault(call.name, []).append(k)
        groups = []
        for name, own in places.items():
            count = len(own) if windows is None else min(windows, len(own))
            for m in range(count):
                some = own[m * len(own) // count : (m + 1) * len(own) // count]
                outputs = [layouts[k].by_sample(calls[k].output, len(cost)) for k in some]
                groups.append(Group(name, some, torch.stack(outputs).mean(0) if len(some) > 1 else outputs[0]))
        return cls(calls, layouts, at_output, head, cost, sorted(groups, key=lambda group: group.calls[0]))

    @property
    def only_once(self) -> Call | None:
        """The first call, if its layer is called once and probed: nothing before it is shifted, and it need not run again."""
        first = self.calls[0]
        return first if self.head != 0 and all(call.name != first.name for call in self.calls[1:]) else None

    def consumers(self, group: Group) -> list[int]:
        """The next calls of up to three layers that take no whole numbers: of other ones, or the head's."""
        found: dict[str, int] = {}
        for k in range(group.calls[0] + 1, len(self.calls)):
            name, given, _ = self.calls[k]
            other = name != group.name or k == self.head
            if other and name not in found and len(found) < _CONSUMERS and given.is_floating_point():
                found[name] = k
        return list(found.values())

    def at_consumers(self, group: Group, of_call: Callable[[int], Tensor], of_output: Tensor) -> Tensor:
        """``[B, k]``, what there is at the inputs of a group's consumers, and at the module's output where no layer gives it."""
        found = [self.layouts[k].by_sample(of_call(k), len(self.cost)) for k in self.consumers(group)]
        if self.head is None:
            found.append(of_output)
        return torch.cat(found, 1) if found else self.cost.new_zeros(len(self.cost), 0)

    def shifts(self, point: Tensor) -> list[Tensor]:
        """Of every call's output, at a vertex ``[D]``."""
        shifts = [torch.zeros((), dtype=call.output.dtype, device=call.output.device).expand(call.output.shape) for call in self.calls]
        for group in self.groups:
            shift = group.shift(point)
            for k in group.calls:
                shifts[k] = self.layouts[k].as_given(shift, self.calls[k].output)
        return shifts

    def put(self, slopes: list[Tensor], group: Group, found: Tensor) -> None:
        """Write slopes ``[B, n]`` at the outputs of a group's calls together: each has its part."""
        for k in group.calls:
            slopes[k] = self.layouts[k].as_given(found / len(group.calls), self.calls[k].output)
