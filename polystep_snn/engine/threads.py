"""A loop over independent items on several threads: the same numbers for any number of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


def split(function: Callable[..., Any], count: int, *arguments: Any, grain: int = 1) -> None:
    """Call ``function(first, behind, *arguments)`` for parts of ``range(count)``, side by side on as many threads as torch has.

    Args:
        function: compiled, holds no lock, and writes for each item into places of its own.
        grain: items that are worth a thread; parts begin at multiples of it.
    """
    threads = min(torch.get_num_threads(), -(-count // grain))
    if threads <= 1:
        function(0, count, *arguments)
        return
    bounds = [-(-count * k // threads // grain) * grain for k in range(threads)] + [count]
    parts = [_pool(threads - 1).submit(function, bounds[k], bounds[k + 1], *arguments) for k in range(1, threads)]
    function(bounds[0], bounds[1], *arguments)
    for part in parts:
        part.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "polystep-loop")
