"""Two trainings of one folder that start at the same moment: ``python -m tests.training.pairs 200`` tries so many pairs and counts.

Processes are forked after everything is imported, so that they meet within milliseconds.
"""

import multiprocessing
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

from polystep_snn import InputError, TrainConfig, Trainer
from polystep_snn.datasets import load
from polystep_snn.files import read_json

_CONFIG = TrainConfig("digits", hidden=(4,), epochs=2, batch_size=512, compile=False, threads=1)


def _train(folder: Path, seed: int, resume: bool, barrier, answers) -> None:
    torch.set_num_threads(1)
    digits = load("digits")
    barrier.wait()
    try:
        Trainer(_CONFIG.replace(seed=0 if resume else seed), folder, digits, resume).fit()
        answers.put(("ran", seed))
    except InputError as error:
        answers.put(("refused" if "another process trains" in str(error) or "already holds" in str(error) else str(error), seed))


def pair(folder: Path, resume: bool = False) -> list[str]:
    """What became of two trainings, or resumptions, of one folder, sorted; "mixed" where the winner's configuration is not there."""
    if resume:
        trainer = Trainer(_CONFIG, folder, load("digits"))
        trainer.stop_requested = True
        trainer.fit()
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_train, args=(folder, seed, resume, barrier, answers)) for seed in (1, 2)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    winners = [seed for answer, seed in found if answer == "ran"]
    if not resume and len(winners) == 1 and read_json(folder / "config.json")["seed"] != winners[0]:
        return ["mixed"]
    return sorted(answer for answer, _ in found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        outcomes = Counter(tuple(pair(Path(place) / str(k), resume=k % 4 == 3)) for k in range(int(sys.argv[1])))
    for outcome, count in outcomes.items():
        print(count, *outcome)  # noqa: T201
