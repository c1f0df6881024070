"""Folders of workers that were killed together with their clients are deleted by the next client; others are left alone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from polystep_snn.errors import InputError
from polystep_snn.folder_lock import FolderLock
from polystep_snn.hardware.lava.worker_process import LavaWorker, remove_leftovers
from tests.hardware.lava.lava_worker import SOON_S

CLIENT = """
from polystep_snn.hardware.lava.worker_process import LavaWorker
worker = LavaWorker()
print(worker.folder, worker._process.pid, flush=True)
input()
"""

pytestmark = pytest.mark.alone


def make_old(folder):
    os.utime(folder, (time.time() - 3600,) * 2)


def is_held(folder):
    try:
        FolderLock(folder).release()
    except InputError:
        return True
    return False


def wait_until_free(folder):
    """A killed process holds its lock until it is gone, a moment later."""
    deadline = time.monotonic() + SOON_S
    while is_held(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_what_nobody_holds_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, held, new, other = (tmp_path / name for name in ("polystep-snn-lava-a", "polystep-snn-lava-b", "polystep-snn-lava-c", "else"))
    for folder in (left, held, new, other):
        folder.mkdir()
        (folder / "worker.log").touch()
    for folder in (left, held, other):
        make_old(folder)
    with FolderLock(held):
        remove_leftovers()
        assert [folder.exists() for folder in (left, held, new, other)] == [False, True, True, True]
    remove_leftovers()
    assert [folder.exists() for folder in (held, new, other)] == [False, True, True]


def test_a_client_and_its_worker_that_were_killed(lava_python, tmp_path, monkeypatch):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as client:
        folder, worker = client.stdout.readline().decode().split()
        make_old(folder)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        remove_leftovers()
        assert Path(folder).is_dir(), "they live"
        os.killpg(int(worker), signal.SIGKILL)
        client.kill()
    wait_until_free(folder)
    make_old(folder)
    worker = LavaWorker()
    worker.close()
    assert list(tmp_path.iterdir()) == []
