"""A loop over independent items on several threads: the same numbers for any number of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_count = 1


@contextmanager
def taken_from_torch() -> Iterator[None]:
    """Within, torch computes on one thread, and ``split`` on as many as torch had.

    How torch's own functions round may depend on how many threads they have.
    """
    global _count
    had, before = torch.get_num_threads(), _count
    if had == 1:
        yield
        return
    torch.set_num_threads(1)
    _count = had
    try:
        yield
    finally:
        _count = before
        torch.set_num_threads(had)


def split(function: Callable[..., Any], count: int, *arguments: Any, grain: int = 1) -> None:
    """Call ``function(first, behind, *arguments)`` for parts of ``range(count)``, side by side on several threads.

    Args:
        function: holds no lock for long, and writes for each item into places of its own.
        grain: items that are worth a thread; parts begin at multiples of it.
    """
    threads = min(_count, -(-count // grain))
    if threads <= 1:
        function(0, count, *arguments)
        return
    bounds = [-(-count * k // threads // grain) * grain for k in range(threads)] + [count]
    parts = [_pool(_count - 1).submit(function, bounds[k], bounds[k + 1], *arguments) for k in range(1, threads)]
    function(bounds[0], bounds[1], *arguments)
    for part in parts:
        part.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # Threads that begin while torch has one thread have one too.
    return ThreadPoolExecutor(threads, "polystep-loop")
