"""Whether the same weights cost the same again, and which submodule is to blame where they do not.

``SameStart`` puts back what it finds in attributes. A module may depend on more: a global variable, an attribute of its class, the
clock, random numbers of the operating system. Its costs tell nothing about candidates, so it is refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_leaves

from polystep_snn.errors import InputError

# Sums that a graphics card adds up in another order differ by less.
_TOLERANCE = 1e-5
# Candidates after which a pass is repeated once: a repeated pass shall take less than a hundredth of their time.
_EVERY_ALONE, _EVERY_TOGETHER = 1000, 20_000


class RepeatCheck:
    """Repeats an unprobed pass now and then, and raises where its cost differs.

    Args:
        module: whose passes.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._candidates: float = torch.inf

    def due(self, count: int, alone: bool) -> bool:
        """Whether it is time, when ``count`` more candidates have been evaluated, one at a time or many together; at first it is."""
        self._candidates += count
        if self._candidates < (_EVERY_ALONE if alone else _EVERY_TOGETHER):
            return False
        self._candidates = 0
        return True

    def compare(self, loss: Tensor, again: Callable[[], Tensor]) -> None:
        """Repeat a pass.

        Args:
            loss: that it cost before.
            again: repeats it from the same start, and returns its loss.

        Raises:
            InputError: the two differ.
        """
        repeated = again()
        if torch.isclose(loss, repeated, rtol=_TOLERANCE, atol=1e-8, equal_nan=True):
            return
        self._candidates = torch.inf
        raise InputError(
            f"the same weights of {type(self._module).__name__} cost {loss.item():g} in one pass and {repeated.item():g} in the next: "
            f"{_first_difference(self._module, again)} depends on something outside of its attributes, such as a global variable or "
            "random numbers of its own: keep it in an attribute or a buffer, or draw from torch's generator"
        )


def _first_difference(module: nn.Module, again: Callable[[], Any]) -> str:
    """The name of the first submodule that makes different outputs of equal inputs in two passes."""
    names = {id(m): f"{name} ({type(m).__name__})" if name else type(m).__name__ for name, m in module.named_modules()}

    def seen() -> list[tuple[str, Any, Any]]:
        found: list[tuple[str, Any, Any]] = []

        def keep(m: nn.Module, given: Any, returned: Any) -> None:
            if id(m) in names:
                found.append((names[id(m)], _copies(given), _copies(returned)))

        handle = register_module_forward_hook(keep)
        try:
            again()
        finally:
            handle.remove()
        return found

    for (name, given, returned), (other, given_again, returned_again) in zip(seen(), seen(), strict=False):
        if name != other or (_equal(given, given_again) and not _equal(returned, returned_again)):
            return name
    return "its forward pass, or the loss,"


def _copies(value: Any) -> list[Tensor]:
    return [t.detach().clone() for t in tree_leaves(value) if isinstance(t, Tensor)]


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(x.shape == y.shape and bool(torch.equal(x, y)) for x, y in zip(a, b, strict=True))
