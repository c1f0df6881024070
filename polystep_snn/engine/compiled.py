"""How a step is computed: by numba's loops on a CPU, by torch.compile on a GPU, eagerly where these do not work; said once."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from polystep_snn.engine.compile_cache import missing_cache

_log = logging.getLogger("polystep_snn")
_RECOMPILE_LIMIT = 256
# Before anything loads torch's compiler: with an optimizer it is loaded even where nothing is compiled.
missing_cache()


@cache
def _say_eager(what: str, reason: str) -> None:
    _log.warning("running without %s (%s): the same numbers, several times slower", what, reason)


@cache
def _missing_loops() -> str | None:
    """Why there are no compiled loops for a CPU; None where there are."""
    try:
        from polystep_snn.engine.loops.jit import try_out

        try_out()
    except Exception as error:  # numba is missing, or whatever its compiler raises
        return _first_line(error)
    return None


def kernels_on(device: torch.device, dtype: torch.dtype, compile: bool) -> "Kernels":
    """What computes a step for tensors on a device: ``loops`` of the CPU, or compiled functions, or neither."""
    if device.type != "cpu":
        return Kernels(compile)
    loops_for = dtype in (torch.float32, torch.float64)
    reason = "switched off" if not compile else _missing_loops() if loops_for else f"{dtype} has none"
    if reason:
        _say_eager("compiled loops", reason)
    return Kernels(False, loops=not reason)


class Kernels:
    """Compiles functions on first use and remembers them.

    ``kernels(fn)`` is ``fn`` under ``torch.compile``. When the first compilation fails, because there is no C++ compiler,
    no Python headers, no place for a cache, one warning says why and everything runs eagerly from then on.

    Args:
        compile: False to run eagerly from the start.
        loops: whether loops that numba compiled take the place of what they can compute.
    """

    def __init__(self, compile: bool = True, loops: bool = False):
        self.compile, self.loops = compile, loops
        self._compiled: dict[Callable, Callable] = {}
        reason = missing_cache() if compile else None
        if reason:
            self.compile = False
            _say_eager("torch.compile", reason)
        elif compile:
            import torch._dynamo.config as dynamo_config

            # Every layer shape is a compilation of its own; beyond torch's limit of 8 a function would silently run eagerly.
            dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, _RECOMPILE_LIMIT)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        if not self.compile:
            return fn
        if fn not in self._compiled:
            self._compiled[fn] = self._guarded(fn)
        return self._compiled[fn]

    def _guarded(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] | None = None

        def run(*args, **kwargs):
            nonlocal compiled
            if not self.compile:
                return fn(*args, **kwargs)
            try:
                if compiled is None:
                    compiled = torch.compile(fn, dynamic=False)
                return compiled(*args, **kwargs)
            except _compile_errors() as error:
                self.compile = False
                _say_eager("torch.compile", _first_line(error))
                return fn(*args, **kwargs)

        return run


def _compile_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException
    from torch._inductor.exc import CppCompileError, InductorError

    # OSError: a cache folder that cannot be written.
    return BackendCompilerFailed, TorchDynamoException, InductorError, CppCompileError, OSError


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "No working C++ compiler" in line or "fatal error:" in line]
    return (telling or lines or [type(error).__name__])[0]
