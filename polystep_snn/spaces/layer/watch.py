"""Layers while a module runs: what each call is given and gives, and how its output is shifted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError

# Of this package's hooks, among those that torch numbers.
_KEY: Any = "polystep_snn"


class Call(NamedTuple):
    """One call of a layer in a forward pass.

    Attributes:
        name: of the layer, or of another part of the module.
        given, output: its input, and its output with the shift.
        is_layer: False for another part, whose input may be anything.
    """

    name: str
    given: Any
    output: Tensor
    is_layer: bool = True


class Watch:
    """Hooks on layers. Passes are recorded within ``on()`` alone.

    Args:
        layers: by name.
        parts: others whose outputs, or the first of their outputs, are shifted too, by name.

    Attributes:
        calls: of the last pass, in order.
    """

    def __init__(self, layers: dict[str, nn.Module], parts: dict[str, nn.Module]):
        self._layers, self._parts = layers, parts
        self._hooks = [(part, self._hook(name)) for name, part in (layers | parts).items()]
        self.calls: list[Call] = []
        self._shifts: list[Tensor | None] | None = None
        self._held: dict[int, Tensor] = {}
        self._reached: Tensor | None = None

    @contextmanager
    def on(
        self, shifts: list[Tensor | None] | None = None, known: Call | None = None, held: dict[int, Tensor] | None = None
    ) -> Iterator[None]:
        """Record a pass.

        Args:
            shifts: one a call, in order, added to its output; None for no shift.
            known: the first call of a pass before, whose layer is called once and need not run again: nothing before it is shifted.
            held: inputs that calls get in place of their own, by place. What is recorded is what they would have got.
        """
        self.calls, self._shifts, self._held = [], shifts, held or {}
        # What `register_forward_hook` does, at a tenth of its time: there are several passes a step, and a layer may be small.
        for part, hook in self._hooks:
            part._forward_hooks[_KEY] = hook
            part._forward_hooks_with_kwargs[_KEY] = True
        handles = [part.register_forward_pre_hook(self._hold, with_kwargs=True) for part, _ in self._hooks] if held else []
        kept = None
        if known is not None:
            kept = self._layers[known.name]
            kept.forward = lambda *arguments, **options: known.output
        try:
            yield
        finally:
            if kept is not None:
                del kept.forward
            for handle in handles:
                handle.remove()
            for part, _ in self._hooks:
                part._forward_hooks.pop(_KEY, None)
                part._forward_hooks_with_kwargs.pop(_KEY, None)

    def _hold(self, layer: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        held = self._held.get(len(self.calls))
        if held is None:
            return None
        self._reached = arguments[0] if arguments else next(iter(options.values()), None)
        return ((held, *arguments[1:]), options) if arguments else ((), options | {next(iter(options)): held})

    def _hook(self, name: str) -> Any:
        def hook(layer: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
            rest, output = (output[1:], output[0]) if name in self._parts and isinstance(output, tuple) else (None, output)
            given = arguments[0] if arguments else next(iter(options.values()), None)
            if len(self.calls) in self._held:
                given, self._reached = self._reached, None
            is_layer = name in self._layers
            if not isinstance(output, Tensor) or (is_layer and not isinstance(given, Tensor)):
                raise InputError(f"{name} takes or gives something else than a tensor: leave it out of `layers`")
            if self._shifts is not None:
                place = len(self.calls)
                shift = self._shifts[place] if place < len(self._shifts) else output.new_zeros(0)
                if shift is not None:
                    if shift.shape != output.shape:
                        raise InputError(
                            f"{name} is not called as in the pass before: layers whose calls depend on what they compute cannot be probed; "
                            "leave it out of `layers`"
                        )
                    output = output + shift
            self.calls.append(Call(name, given, output, is_layer))
            return output if rest is None else (output, *rest)

        return hook


class Layout(NamedTuple):
    """Where the samples of a tensor are.

    Attributes:
        minor: False where each sample's rows lie one after the other, ``[B, ...]`` or ``[B k, ...]``; True for ``[k, B, ...]`` and
            ``[k B, ...]``.
    """

    minor: bool

    def by_sample(self, x: Tensor, batch_size: int) -> Tensor:
        """``[B, n]``."""
        if not self.minor:
            return x.reshape(batch_size, -1)
        return x.reshape(-1, batch_size, x.numel() // max(1, _leading(x, batch_size))).transpose(0, 1).reshape(batch_size, -1)

    def as_given(self, x: Tensor, like: Tensor) -> Tensor:
        """``[B, n]`` in the shape of a tensor with this layout."""
        if not self.minor:
            return x.view(like.shape)
        count = _leading(like, len(x)) // len(x)
        return x.view(len(x), count, -1).transpose(0, 1).reshape(like.shape)


def _leading(x: Tensor, batch_size: int) -> int:
    """Rows of samples and whatever lies before them."""
    return x.shape[0] if x.shape[0] % batch_size == 0 and not (x.ndim > 1 and x.shape[1] == batch_size) else x.shape[0] * x.shape[1]


def layout_of(before: Tensor, after: Tensor, batch_size: int) -> Layout | None:
    """The layout in which two tensors differ in nothing but the first sample; None if there is none."""
    differ = before != after
    fits = before.ndim > 0 and before.shape[0] % batch_size == 0
    layouts = [Layout(False)] if fits else []
    if fits or (before.ndim > 1 and before.shape[1] == batch_size):
        layouts.append(Layout(True))
    return next((layout for layout in layouts if not bool(torch.any(layout.by_sample(differ, batch_size)[1:]))), None)
