"""Where data files are looked for, and how they are fetched."""

import hashlib
import http.client
import os
import sys
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from polystep_snn.errors import InputError
from polystep_snn.files import make_folder, write_atomically

DATA_DIR_VARIABLE = "POLYSTEP_SNN_DATA"
_TIMEOUT_S = 20
_CHUNK = 2**18
T = TypeVar("T")


def cache_dir() -> Path:
    """The user's cache folder for data: ``$XDG_CACHE_HOME/polystep-snn``, else ``~/.cache/polystep-snn``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "polystep-snn"


def given_folders(data_dir: Path | None) -> list[Path]:
    """Where the user says that data is: ``data_dir``, then ``$POLYSTEP_SNN_DATA``; those that are set."""
    variable = os.environ.get(DATA_DIR_VARIABLE)
    return [Path(folder) for folder in (data_dir, variable) if folder]


def decompress(packed: bytes, largest: int, where: str) -> bytes:
    """The content of a gzip file, which may be no longer than ``largest`` bytes.

    Raises:
        InputError: not gzip, truncated, damaged, or longer than that.
    """
    try:
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        content = unpacker.decompress(packed, largest + 1)
    except zlib.error as error:
        raise InputError(f"{where} is damaged ({error}): delete it and fetch it again") from None
    if len(content) > largest:
        raise InputError(f"{where} unpacks to more than {largest} bytes: delete it and fetch it again")
    if not unpacker.eof:
        raise InputError(f"{where} is truncated after {len(packed)} bytes: delete it and fetch it again")
    return content


def check_md5(content: bytes, expected: str, where: str) -> None:
    """InputError unless the content has the expected MD5 (a check against damage, not against malice)."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise InputError(f"{where} is damaged (MD5 {found} instead of {expected}): delete it and fetch it again")


def fetch(urls: Sequence[str], target: Path, content_md5: str, largest: int) -> bytes:
    """Download a gzip file from the first mirror that has it intact.

    The file appears under ``target`` only once its decompressed content has been checked.

    Args:
        urls: mirrors, tried in this order.
        target: where the packed file goes.
        content_md5: of the decompressed content.
        largest: bytes of decompressed content at most.

    Returns:
        The decompressed content.

    Raises:
        InputError: no mirror worked; the message holds each one's reason.
    """

    def check(packed: bytes, url: str) -> bytes:
        content = decompress(packed, largest, url)
        check_md5(content, content_md5, url)
        return content

    packed, content = first_intact(urls, 2 * largest, check)
    _store(packed, target)
    return content


def first_intact(urls: Sequence[str], largest: int, check: Callable[[bytes, str], T]) -> tuple[bytes, T]:
    """What the first mirror serves that has it intact.

    Args:
        urls: mirrors, tried in this order.
        largest: bytes at most.
        check: is given what a mirror serves, and its address; what it returns is returned. It raises ``ValueError`` for what is not intact.

    Raises:
        InputError: no mirror worked; the message holds each one's reason.
    """
    reasons = []
    for url in urls:
        try:
            served = _get(url, largest)
            found = check(served, url)
        # A mirror that is down, speaks nonsense, lies or is cut off: the next one may do better.
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
            continue
        return served, found
    raise InputError("; ".join(reasons))


def _get(url: str, largest: int) -> bytes:
    """What an address serves, at most ``largest`` bytes, with a progress bar on a terminal."""
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        bar = {"total": int(response.headers.get("Content-Length") or 0) or None, "desc": url.rsplit("/", 1)[-1], "leave": False}
        with tqdm.wrapattr(response, "read", file=sys.stderr, disable=not sys.stderr.isatty(), **bar) as body:
            packed = b""
            while len(packed) < largest and (chunk := body.read(_CHUNK)):
                packed += chunk
    return packed


def _store(packed: bytes, target: Path) -> None:
    try:
        make_folder(target.parent)
        write_atomically(target, lambda temporary: temporary.write_bytes(packed))
    except InputError as error:
        raise InputError(f"{error}, through $XDG_CACHE_HOME") from None
