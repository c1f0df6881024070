"""``@loop`` compiles a function with numba on its first call, and keeps the result in the user's cache folder.

The folder is only a saving of time: one that is missing, read-only or damaged costs the seconds of a compilation. It lies in
``$NUMBA_CACHE_DIR``, else in ``$XDG_CACHE_HOME/polystep-snn/loops``, else in ``~/.cache/polystep-snn/loops``; below it every version of
these sources has a folder of its own, since numba looks at one file at a time.
"""

import os
import threading
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

# Its values are set when it is imported.
config: Any = numba.config


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and numbers. It holds no lock, so that threads run side by side.

    The compiler looks for nothing by itself that ``lanes`` say already, which would take a quarter of its time.
    """
    return _kept(function, numba.njit(nogil=True)(function), 1)


def product_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for sums of products, which may be rounded once where the machine can."""
    return _kept(function, numba.njit(nogil=True, fastmath={"contract"})(function), 1)


def plain_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for loops over single numbers, which the compiler puts side by side."""
    return _kept(function, numba.njit(nogil=True)(function), 3)


def _kept(function: Callable[..., Any], compiled: Any, level: int) -> Callable[..., Any]:
    if config.DISABLE_JIT:
        return compiled
    compile = compiled.compile

    def compile_at_level(signature: Any) -> Any:
        stop = getattr(_this_thread, "stop", None)
        if stop is not None and stop.is_set():
            raise SystemExit
        before, config.OPT = config.OPT, type(config.OPT)(level)
        try:
            return compile(signature)
        finally:
            config.OPT = before

    compiled.compile = compile_at_level
    place = _place()
    if place is not None:
        compiled._cache = _Cache(function, place)
    return compiled


_this_thread = threading.local()


def stop_compiling_at(event: threading.Event) -> None:
    """End this thread before it compiles another function once an event has happened."""
    _this_thread.stop = event


@cache
def _place() -> str | None:
    base = os.environ.get("NUMBA_CACHE_DIR")
    try:
        if not base:
            base = os.path.join(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "polystep-snn", "loops")
        here = Path(__file__).parent
        version = 0
        for file in sorted(here.glob("*.py")):
            version = zlib.crc32(file.read_bytes(), version)
        place = os.path.join(base, f"{version:08x}")
        os.makedirs(place, exist_ok=True)
    except (OSError, RuntimeError):  # no home
        return None
    return place


class _Cache:
    """numba's cache of one function, of which no fault reaches a run."""

    def __init__(self, function: Callable[..., Any], place: str):
        before, config.CACHE_DIR = config.CACHE_DIR, place
        try:
            self._cache: FunctionCache | None = FunctionCache(function)
        except (OSError, RuntimeError):  # no place that can be written
            self._cache = None
        finally:
            config.CACHE_DIR = before

    def load_overload(self, signature: Any, context: Any) -> Any:
        return self._try("load_overload", signature, context)

    def save_overload(self, signature: Any, compiled: Any) -> None:
        self._try("save_overload", signature, compiled)

    def _try(self, method: str, *arguments: Any) -> Any:
        if self._cache is None:
            return None
        try:
            return getattr(self._cache, method)(*arguments)
        except Exception:  # whatever a damaged file makes of its reader: what was not kept is compiled
            self._cache = None
            return None

    # What numba asks of a cache beside that.
    cache_path = property(lambda self: None if self._cache is None else self._cache.cache_path)

    def enable(self) -> None:
        pass

    def disable(self) -> None:
        self._cache = None

    def flush(self) -> None:
        self._try("flush")


@loop
def _one_more(x):
    return x + 1


def try_out() -> None:
    """Raise whatever numba raises where it cannot compile."""
    if config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")
    _one_more(1)
