"""Checkpoints with one thing changed, and a right checksum: ``python -m tests.training.checkpoint_mutations 10000`` tries so many.

Each is either refused by an ``InputError`` where it is read, or good for all that follows: evaluation, integers, a step of training.
"""

import copy
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from polystep_snn import InputError, TrainConfig, Trainer
from polystep_snn.checksum import checksum
from polystep_snn.datasets import load
from polystep_snn.training.run_folder import open_run

CONFIG = TrainConfig("digits", hidden=(4,), epochs=3, batch_size=512, compile=False, threads=1, device="cpu")
_NUMBERS = (-1, 0, 1, 2, 2**31, 2**63, 10**400, -0.5, 0.5, 1e300, float("nan"), float("inf"))
_VALUES = (*_NUMBERS, None, True, "", "x", [], {}, [1], {"a": 1}, [[]])
_TYPES = (np.int8, np.uint8, np.int32, np.int64, np.float16, np.float64, np.bool_, np.uint16)


def make_run(folder: Path) -> tuple[dict, dict]:
    """A run that was stopped in its second epoch: tensors and JSON of its checkpoint."""
    from safetensors import safe_open

    digits = load("digits")
    trainer = Trainer(CONFIG, folder, digits)
    trainer.observer.epoch_done = lambda metrics: setattr(trainer, "stop_requested", True)
    assert trainer.fit() is None
    with safe_open(folder / "checkpoint.safetensors", framework="np") as file:
        tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        meta = json.loads(file.metadata()["polystep_snn"])
    meta.pop("crc32")
    return tensors, meta


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def mutated(tensors: dict, meta: dict, chance: random.Random) -> tuple[dict, dict]:
    """A copy in which one to three things are changed."""
    tensors, meta = dict(tensors), copy.deepcopy(meta)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.6:
            path = chance.choice([place for place in places(meta) if place])
            inner = meta
            for key in path[:-1]:
                inner = inner[key]
            action = chance.random()
            if action < 0.2:
                del inner[path[-1]]
            elif action < 0.3 and isinstance(inner, dict):
                inner["another"] = chance.choice(_VALUES)
            elif action < 0.35:
                nested: list = []
                for _ in range(chance.choice((50, 400))):
                    nested = [nested]
                inner[path[-1]] = nested
            else:
                inner[path[-1]] = chance.choice(_VALUES)
        else:
            name = chance.choice(list(tensors))
            array, action = tensors[name], chance.random()
            if action < 0.2:
                del tensors[name]
            elif action < 0.35:
                tensors[f"{name}x"] = tensors.pop(name)
            elif action < 0.6:
                with np.errstate(all="ignore"):
                    tensors[name] = array.astype(chance.choice(_TYPES))
            elif action < 0.8:
                tensors[name] = array.reshape(-1)[: max(0, array.size - 1)] if chance.random() < 0.5 else array[None]
            else:
                changed = array.copy()
                changed.reshape(-1)[:1] = chance.choice((np.nan, np.inf, -1e30)) if array.dtype.kind == "f" else 255
                tensors[name] = changed
        if not tensors:
            break
    return tensors, meta


def write(folder: Path, tensors: dict, meta: dict) -> None:
    from safetensors.numpy import save_file

    # Not ascontiguousarray, which gives scalars a dimension.
    arrays = {name: np.array(array, order="C") for name, array in tensors.items()}
    content = json.dumps({**meta, "crc32": checksum(meta, arrays)})
    save_file(arrays, folder / "checkpoint.safetensors", {"polystep_snn": content})


def outcome(folder: Path, digits) -> str:
    """What becomes of the checkpoint in a run's folder; raises whatever is no ``InputError``, or comes after it was accepted."""
    try:
        opened = open_run(folder, dataset=digits)
    except InputError:
        found = "refused to open"
    else:
        opened.evaluate(limit=8)
        found = "opened"
    try:
        trainer = Trainer(CONFIG, folder, digits, resume=True)
    except InputError:
        return f"{found}, refused to resume"
    if trainer.position.step < trainer.steps_per_epoch and trainer.position.epoch < CONFIG.optimizer.epochs:
        trainer._step(torch.randperm(len(trainer.feed), generator=trainer.order_generator))
    trainer.lock.release()
    return f"{found}, resumed"


def try_some(folder: Path, count: int, seed: int) -> Counter:
    """What became of so many mutations."""
    chance, digits = random.Random(seed), load("digits")
    original = make_run(folder)
    write(folder, *original)
    assert outcome(folder, digits) == "opened, resumed"
    found: Counter = Counter()
    for number in range(count):
        write(folder, *mutated(*original, chance))
        try:
            found[outcome(folder, digits)] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number} of seed {seed}: {type(error).__name__}: {error}") from error
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        for outcomes, times in try_some(Path(place) / "run", int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0).items():
            print(times, outcomes)  # noqa: T201
