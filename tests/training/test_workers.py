"""Two processes under torchrun against one on the same global batch; a process that dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polystep_snn.errors import InputError
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.trainer import Trainer
from polystep_snn.training.workers import Workers

RUN = "train digits --hidden 24 --num-steps 6 --batch-size 96 --encoder poisson --probed 10 --threads 1 --no-compile"

# One step, then each process writes the gradients that the optimizer was given, and the weights that it made of them.
ONE_STEP = """
import json
import sys
import torch
from safetensors.torch import save_file
from polystep_snn.datasets import load
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.trainer import Trainer
options = json.loads(sys.argv[2])
config = TrainConfig("digits", hidden=(24,), num_steps=6, batch_size=96, encoder="poisson", threads=1, compile=False, **options)
run = Trainer(config, sys.argv[1], load("digits"))
run._step(torch.arange(1257))
tensors = {name: p.grad for name, p in run.network.named_parameters()} | run.totals
tensors |= {f"new.{name}": p.detach() for name, p in run.network.named_parameters()}
save_file(tensors, f"{sys.argv[1]}-{run.workers.rank}.safetensors")
"""


def torchrun(processes, *arguments, **options):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]
    return subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_alone_nothing_is_shared():
    workers = Workers.join(torch.device("cpu"))
    assert (workers.rank, workers.size) == (0, 1)
    x = torch.ones(3)
    workers.average([x])
    assert x.tolist() == [1, 1, 1]


def test_batches_that_cannot_be_shared():
    with pytest.raises(InputError, match="batch_size is 97, which 2 processes cannot share evenly"):
        Workers(0, 2).check(97)


# Displacements of weight space follow differences of costs, which lose digits that their sums have.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "atol"),
    [({"probed": 10}, 1e-7), ({"space": "weight", "radius": 0.5, "polytope": "simplex"}, 1e-4)],
    ids=["node", "weight"],
)
def test_two_processes_compute_what_one_does(digits, tmp_path, options, atol):
    script = tmp_path / "one_step.py"
    script.write_text(ONE_STEP)
    _, err = (process := torchrun(2, script, tmp_path / "two", json.dumps(options))).communicate(timeout=180)
    assert process.returncode == 0, err
    subprocess.run([sys.executable, str(script), str(tmp_path / "one"), json.dumps(options)], check=True, timeout=120)
    alone = load_file(tmp_path / "one-0.safetensors")
    first, second = (load_file(tmp_path / f"two-{rank}.safetensors") for rank in range(2))
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"
        if name.startswith("new."):
            # Adam's first step makes much of gradients that are next to nothing.
            moved = alone[name.removeprefix("new.")].abs() > 100 * atol
            torch.testing.assert_close(first[name][moved], expected[moved], rtol=1e-5, atol=1e-6)
        else:
            torch.testing.assert_close(first[name], expected, rtol=1e-5, atol=atol)
    assert alone["linears.0.weight"].abs().max() > 1e-4


@pytest.mark.slow
def test_a_job_of_two_trains_and_speaks_once(tmp_path):
    process = torchrun(2, "-m", "polystep_snn.cli.main", *RUN.split(), "--epochs", "6", "--out", tmp_path / "run", "--json")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out) == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert err.count("epoch   6/6") == 1
    assert json.loads(out)["test_accuracy"] > 0.5


@pytest.mark.slow
def test_a_job_of_two_in_weight_space(digits, tmp_path):
    """Whole runs keep to one another only as long as no spike is at its threshold: here they learn as well."""
    run = RUN.replace("--probed 10", "--space weight --rank 4")
    process = torchrun(2, "-m", "polystep_snn.cli.main", *run.split(), "--epochs", "8", "--out", tmp_path / "two", "--json")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    config = TrainConfig.from_json(json.loads((tmp_path / "two" / "config.json").read_text()))
    alone = Trainer(config, tmp_path / "one", digits).fit()["test_accuracy"]
    assert alone > 0.5
    assert abs(json.loads(out)["test_accuracy"] - alone) < 0.08  # 360 samples: two standard errors of a difference


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_the_run_goes_on(digits, tmp_path):
    folder = tmp_path / "run"
    process = torchrun(2, "-m", "polystep_snn.cli.main", *RUN.split(), "--epochs", "200", "--out", folder)
    while not (folder / "metrics.jsonl").exists():
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    workers = [int(p) for p in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()]
    victim = next(p for p in workers if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{p}/environ").read_bytes())
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "another process of this job is gone" in err or "finishing this step" in err
    config = TrainConfig.from_json(json.loads((folder / "config.json").read_text()))
    run = Trainer(config, folder, digits, resume=True)
    assert run.position.epoch >= 1
    for p in workers:
        assert not Path(f"/proc/{p}").exists()
