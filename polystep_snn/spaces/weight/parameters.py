"""Which parameters of a module are trained, and which of them together."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from polystep_snn.errors import InputError


def chosen_parameters(module: nn.Module, patterns: Sequence[str] | None) -> dict[str, Tensor]:
    """The parameters that are trained, by name; of tied ones the first name stands for all.

    Raises:
        InputError: there is none, a pattern matches none, or one is not floating point.
    """
    named: dict[str, Tensor] = dict(module.named_parameters())
    if patterns is None:
        movable = {name: p for name, p in named.items() if p.is_floating_point() and p.numel()}
        chosen = {name: p for name, p in movable.items() if p.requires_grad} or movable
        if not chosen:
            raise InputError(f"{type(module).__name__} has no floating-point parameters: there is nothing to train")
        return chosen
    if isinstance(patterns, str):
        raise InputError(f"parameters is {patterns!r}: give a list of names or patterns")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise InputError(f"no parameter is called {pattern!r}: there are {', '.join(named) or 'none'}")
    chosen = {name: p for name, p in named.items() if p.numel() and any(fnmatchcase(name, pattern) for pattern in patterns)}
    for name, parameter in chosen.items():
        if not parameter.is_floating_point():
            raise InputError(f"{name} is {parameter.dtype}: only floating-point parameters can be moved, leave it out")
    if not chosen:
        raise InputError("no parameters are chosen: give at least one name, or None for all")
    return chosen


def blocks_of(names: list[str], blocks: Sequence[Sequence[str]] | str | None) -> list[list[str]]:
    """The groups of parameters that are probed together."""
    if blocks is None:
        return [names]
    if isinstance(blocks, str):
        owners = {name.rpartition(".")[0]: None for name in names}
        return [[name for name in names if name.rpartition(".")[0] == owner] for owner in owners]
    found = [[name for name in names if any(fnmatchcase(name, pattern) for pattern in block)] for block in blocks]
    for group, block in zip(found, blocks, strict=True):
        if isinstance(block, str) or not group:
            raise InputError(f"the block {block!r} names no parameter that is trained: give lists of names, of {', '.join(names)}")
    missing = [name for name in names if not any(name in group for group in found)]
    if missing:
        raise InputError(f"no block holds {', '.join(missing)}: put every trained parameter into a block")
    return found
