"""Which rows of every layer's output belong to which sample, and whether samples keep apart: found by changing one."""

from typing import Any

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.spaces.layer.passes import Passes
from polystep_snn.spaces.layer.watch import Call, Layout, Watch, layout_of


def examine(passes: Passes, watch: Watch, arguments: tuple[Any, ...], calls: list[Call], output: Any, size: int) -> list[Layout]:
    """The layout of every call, by a pass in which the first sample is replaced by the second.

    Args:
        calls, output: of the pass on the batch itself.
        size: B.

    Raises:
        InputError: one sample; a call that no layout fits; an output of the module that depends on another sample.
    """
    if size < 2:
        raise InputError("the batch has one sample: give at least two, so that it can be seen which is which")
    other = passes.on_other(tuple(_replaced(x, size) for x in arguments))
    if [call.name for call in watch.calls] != [call.name for call in calls]:
        raise InputError(
            "which layers are called depends on the samples: leave those out of `layers` that are called for some samples only"
        )
    layouts = []
    for before, after in zip(calls, watch.calls, strict=True):
        layout = layout_of(before.output, after.output, size) if before.output.shape == after.output.shape else None
        if layout is None:
            raise InputError(_message(before.name))
        layouts.append(layout)
    if isinstance(output, Tensor) and output.shape[:1] == (size,) and bool((output != other)[1:].any()):
        raise InputError(_message("the module's output"))
    return layouts


def _message(what: str) -> str:
    return (
        f"in {what} one sample depends on another, as with the statistics of a batch in training mode: call .eval() on such layers, or "
        "put a norm over each sample in their place"
    )


def _replaced(x: Any, size: int) -> Any:
    if not isinstance(x, Tensor):
        return x
    axis = next((k for k in range(min(2, x.ndim)) if x.shape[k] == size), None)
    if axis is None:
        return x
    index = torch.arange(size, device=x.device)
    index[0] = 1
    return x.index_select(axis, index)
