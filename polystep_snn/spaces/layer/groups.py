"""What the unprobed pass has shown: calls of layers that are shifted alike, and who consumes what they give."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from polystep_snn.spaces.layer.arithmetic import Eager
from polystep_snn.spaces.layer.watch import Call, Layout

# Later layers that are tried as consumers, beside the head.
_CANDIDATES = 2


@dataclass
class Group:
    """Calls of one layer that share a direction: of one time window.

    Attributes:
        name: of the layer.
        calls: places in the pass.
        outputs: ``[B, n]``, the mean of what they give.
        arithmetic: for them.
        consumer: calls of one layer through whose inputs all that a shift does reaches the cost; none for the module's output.
        directions: ``[D, B, n]``, signs, drawn anew in every step.
        scale: of a shift by one.
    """

    name: str
    calls: list[int]
    outputs: Tensor
    arithmetic: Eager
    consumer: list[int] = field(default_factory=list)
    directions: Tensor = field(init=False)
    scale: Tensor = field(init=False)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the outputs, of all samples together."""
        return self._measured[0]

    @property
    def intervals(self) -> Tensor:
        """``[B, n]``, in which interval each output lies."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[Tensor, Tensor]:
        return self.arithmetic.measured(self.outputs)

    def shift(self, point: Tensor) -> Tensor:
        """``[B, n]`` at a vertex ``[D]``."""
        if len(point) == 1:
            return self.directions[0] * (point * self.scale)
        return torch.tensordot(point * self.scale, self.directions, 1)


@dataclass(frozen=True)
class Unprobed:
    """The pass without a shift.

    Attributes:
        calls: of all layers, in order.
        layouts: one a call.
        output: the module's.
        at_output: slopes ``[B, C]`` of each sample's cost at the module's output; None where they are not known.
        head: the place of the call that gives the module's output, where its slopes are known; it is not probed.
        size: B.
        groups: all calls but the head's, in the order of their first ones.
        arithmetic: for all of them.
    """

    calls: list[Call]
    layouts: list[Layout]
    output: Any
    at_output: Tensor | None
    head: int | None
    size: int
    groups: list[Group]
    arithmetic: Eager

    @classmethod
    def of(
        cls,
        calls: list[Call],
        layouts: list[Layout],
        output: Any,
        at_output: Tensor | None,
        size: int,
        windows: int | None,
        arithmetic: Eager,
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
                groups.append(Group(name, some, _mean([layouts[k].by_sample(calls[k].output, size) for k in some]), arithmetic))
        return cls(calls, layouts, output, at_output, head, size, sorted(groups, key=lambda group: group.calls[0]), arithmetic)

    @property
    def only_once(self) -> Call | None:
        """The first call, if its layer is called once and probed: nothing before it is shifted, and it need not run again."""
        first = self.calls[0]
        return first if first.is_layer and self.head != 0 and all(call.name != first.name for call in self.calls[1:]) else None

    def candidates(self, name: str) -> list[list[int]]:
        """Calls, together those of another layer or the head, that may be all that a layer's shifts reach: nearest first."""
        own = {k for group in self.groups if group.name == name for k in group.calls}
        found: dict[str, list[int]] = {}
        for k in range(min(own) + 1, len(self.calls)):
            call = self.calls[k]
            if k not in own and call.is_layer and call.given.is_floating_point():
                found.setdefault(call.name, []).append(k)
        places = list(found.values())
        return [*places[:_CANDIDATES], *(others for others in places[_CANDIDATES:] if self.head in others)]

    def inputs(self, places: list[int]) -> dict[int, Tensor]:
        """What calls are given, by place."""
        return {k: self.calls[k].given for k in places}

    def at_consumer(self, group: Group, of_call: Callable[[int], Tensor], of_output: Tensor) -> Tensor:
        """``[C, B, k]``, what there is at the inputs of the calls that consume what a group gives, or at the module's output."""
        if not group.consumer:
            return of_output[None]
        found = [self.layouts[k].by_sample(of_call(k), self.size) for k in group.consumer]
        return found[0][None] if len(found) == 1 else torch.stack(found)

    def outputs_of(self, group: Group, calls: list[Call]) -> Tensor:
        """``[B, n]``, the mean of what a group's calls give in another pass."""
        return _mean([self.layouts[k].by_sample(calls[k].output, self.size) for k in group.calls])

    def no_shifts(self) -> list[Tensor | None]:
        """Of every call's output."""
        return [None] * len(self.calls)

    def put_shift(self, shifts: list[Tensor | None], group: Group, shift: Tensor) -> None:
        """Write ``[B, n]`` for all calls of a group."""
        for k in group.calls:
            shifts[k] = self.layouts[k].as_given(shift, self.calls[k].output)

    def shifts(self, point: Tensor) -> list[Tensor | None]:
        """Of every call's output, at a vertex ``[D]``."""
        shifts = self.no_shifts()
        for group in self.groups:
            self.put_shift(shifts, group, group.shift(point))
        return shifts

    def known_slopes(self) -> list[Tensor | None]:
        """At every call's output: those of the head."""
        return [self.at_output if k == self.head else None for k in range(len(self.calls))]

    def put_slopes(self, slopes: list[Tensor | None], group: Group, found: Tensor) -> None:
        """Write slopes ``[B, n]`` at the outputs of a group's calls together: each has its part."""
        part = found if len(group.calls) == 1 else found / len(group.calls)
        for k in group.calls:
            slopes[k] = self.layouts[k].as_given(part, self.calls[k].output)


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)
