"""One process at a time in the folder of a run, whatever happens to the others."""

import signal
import subprocess
import sys

import pytest

from polystep_snn import InputError, TrainConfig, Trainer
from polystep_snn.folder_lock import FolderLock
from polystep_snn.training.run_folder import open_run
from tests.training.pairs import pair

CONFIG = TrainConfig("digits", hidden=(4,), epochs=1, compile=False, threads=1)


def test_a_second_holder_is_refused_until_the_first_is_gone(tmp_path):
    with FolderLock(tmp_path), pytest.raises(InputError, match=r"another process learns in .*: wait for it, or choose another folder"):
        FolderLock(tmp_path, "learns")
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()
    FolderLock(tmp_path)  # collected at once
    FolderLock(tmp_path).release()


def test_a_killed_holder_holds_nothing(tmp_path):
    code = f"""if True:
        from pathlib import Path
        from polystep_snn.folder_lock import FolderLock
        lock = FolderLock(Path({str(tmp_path)!r}))
        print(1, flush=True)
        input()
    """
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(InputError, match="another process"):
            FolderLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    FolderLock(tmp_path).release()


def test_two_runs_on_one_folder(tmp_path, digits):
    first = Trainer(CONFIG, tmp_path / "run", digits)
    with pytest.raises(InputError, match=r"another process trains in .*run now"):
        Trainer(CONFIG.replace(seed=1), tmp_path / "run", digits)
    with pytest.raises(InputError, match=r"another process trains in .*run now"):
        Trainer(CONFIG, tmp_path / "run", digits, resume=True)
    assert first.fit()["seed"] == 0
    with pytest.raises(InputError, match="already holds a run: go on with --resume"):
        Trainer(CONFIG, tmp_path / "run", digits)


def test_leftovers_of_a_killed_process_are_cleared(tmp_path, digits):
    run = tmp_path / "run"
    Trainer(CONFIG, run, digits).fit()
    names = (".config.json.x1", ".checkpoint.safetensors.ab", ".metrics.jsonl.q", ".network.safetensors.1", ".summary.json.9")
    for name in names:
        (run / name).touch()
    with FolderLock(run):
        open_run(run)
        assert all((run / name).exists() for name in names), "somebody works there, and may be writing them"
    open_run(run)
    assert not any((run / name).exists() for name in names)


@pytest.mark.slow
def test_of_pairs_that_start_at_once_one_runs_and_one_is_refused(tmp_path):
    for number in range(4):
        assert pair(tmp_path / str(number), resume=number % 2 == 1) == ["ran", "refused"]
