"""A loop over independent items on several threads: the same numbers for any number of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
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
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    for k, queue in enumerate(_queues(threads - 1), 1):
        queue.put((function, bounds[k], bounds[k + 1], arguments, done))
    try:
        function(bounds[0], bounds[1], *arguments)
    finally:
        errors = [done.get() for _ in range(threads - 1)]
    for error in errors:
        if error is not None:
            raise error


# What threads wait at: a thread that waits for its next part is awake some ten microseconds sooner than an executor's.
_waiting: list[SimpleQueue[Any]] = []


def _queues(count: int) -> list[SimpleQueue[Any]]:
    while len(_waiting) < count:
        queue: SimpleQueue[Any] = SimpleQueue()
        # Threads that begin while torch has one thread have one too.
        Thread(target=_work, args=(queue,), name="polystep-loop", daemon=True).start()
        _waiting.append(queue)
    return _waiting[:count]


def _work(queue: "SimpleQueue[Any]") -> None:
    while True:
        function, first, behind, arguments, done = queue.get()
        error = None
        try:
            function(first, behind, *arguments)
        except BaseException as raised:
            error = raised
        del function, arguments
        done.put(error)


# A process that is forked has none of these threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)
