"""A lock on a folder: one process at a time, and none after it has ended, however it ended."""

import fcntl
import os
import weakref
from pathlib import Path

from polystep_snn.errors import InputError


class FolderLock:
    """Held from when it is made until it is released, collected, or its process and all that inherited it are gone.

    The folder itself carries it: there is no file that could stay behind.

    Args:
        folder: an existing folder.
        doing: what its holder does there, for the message.

    Attributes:
        descriptor: of the open folder, for a child that shall hold the lock too.

    Raises:
        InputError: somebody else holds it, or the folder cannot be opened.
    """

    def __init__(self, folder: Path, doing: str = "works"):
        try:
            self.descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be locked ({error.strerror}): choose another one") from None
        self._close = weakref.finalize(self, os.close, self.descriptor)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if not isinstance(error, BlockingIOError):
                raise InputError(f"the folder {folder} cannot be locked ({error.strerror}): choose one on another disk") from None
            raise InputError(f"another process {doing} in {folder} now: wait for it, or choose another folder") from None

    def release(self) -> None:
        """Let others have it. Releasing twice does nothing."""
        self._close()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
