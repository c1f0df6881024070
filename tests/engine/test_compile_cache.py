"""No place for torch's compile cache: commands that compile nothing run, the others run eagerly and say why."""

import os
import subprocess
import sys

import pytest


def run(folder, *arguments):
    (folder / "file").touch()
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "file" / "cache")}
    command = [sys.executable, "-m", "polystep_snn.cli.main", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("options", "what", "reason"),
    [
        (["--no-compile"], "compiled loops", "switched off"),
        (["--space", "weight"], "torch.compile", "file/cache cannot be written (Not a directory)"),
    ],
)
def test_training_runs_eagerly_and_says_why_once(tmp_path, options, what, reason):
    done = run(tmp_path, "train", "digits", "--hidden", 8, "--epochs", 2, "--threads", 1, *options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"running without {what}") == 1
    assert reason in done.stderr
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_command_that_compiles_nothing_says_what_is_wrong_with_its_arguments(tmp_path):
    done = run(tmp_path, "eval", tmp_path / "none")
    assert done.returncode == 2
    assert "holds no run (no config.json): train first, name another folder" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
