"""Ending a process with all that it started, and making sure that it is gone. POSIX; /proc is read where there is one."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

# After each signal, for shared memory to be given back by the process that keeps track of it.
_GRACE_S = 1.5
_LOOK_S = 0.01


def end_group(group: int) -> None:
    """End every process of a group that is not this process's own, and return once they are gone.

    SIGTERM comes first, and SIGCONT so that stopped ones see it: Python's tracker of shared memory ignores it, and unlinks what the
    others left behind as soon as they have ended. Then SIGKILL for the leader, with whom its children are killed; then for all.
    """
    for kill, numbers in (
        (os.killpg, (signal.SIGTERM, signal.SIGCONT)),
        (os.kill, (signal.SIGKILL,)),
        (os.killpg, (signal.SIGKILL,)),
    ):
        with suppress(ProcessLookupError, PermissionError):  # the latter on macOS, of groups in which only ended processes are left
            for number in numbers:
                kill(group, number)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            if not members(group):
                return
            time.sleep(_LOOK_S)


def members(group: int) -> list[int]:
    """The living processes of a group. Where there is no /proc, the group's number alone stands for them."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return [group]
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                # "pid (name) state parent group ...": a name may hold blanks and brackets.
                state, _, its_group = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue  # it has just ended
            if int(its_group) == group and state not in "ZX":
                found.append(int(entry.name))
    return found
