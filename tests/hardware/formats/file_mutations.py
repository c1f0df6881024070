"""NIR and lava-dl files that were changed: ``python -m tests.hardware.formats.file_mutations 10000`` tries so many.

Each is either refused by an ``InputError`` where it is read, or good for all that follows: it runs, and it is kept in a network file.
"""

import contextlib
import json
import logging
import math
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import h5py
import nir
import numpy as np
import torch

from polystep_snn import from_nir, hdf5_child
from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware import network_file
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import FORMATS, KINDS, make, mutated
from tests.hardware.formats.written_convolutions import portable
from tests.snn.nir_graphs import snntorch_graph

_NUMBERS = (0, 1, -1, 7, 0.5, -1e-30, 1e30, 3e38, 2**31, 2**63, float("nan"), float("inf"))
_TYPES = ("f2", "f4", "f8", ">f8", "i1", "u1", "i4", "i8", "u8", "?", "c8", "S4")
_TEXTS = ("", "LIF", "Affine", "Conv2d", "LOIHI", "CUBA", "ä", "x" * 300, "None")


# Forks itself for each file: a fresh process would take a hundred times as long to start.
_NURSERY = """
import json, os, signal, sys
sys.path[:] = sys.argv[1:]
import h5py
import polystep_snn.hardware.formats.hdf5
from polystep_snn import hdf5_child
for line in sys.stdin:
    deadline, answer, *own = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(deadline)
        os.dup2(os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        hdf5_child.serve(*own)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextlib.contextmanager
def quick_children(folder: Path) -> Iterator[None]:
    """Within, what reads HDF5 is a fork of a process that has loaded everything, instead of a fresh one."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _NURSERY, *sys.path], **pipes) as nursery:

        def run(command, timeout, **_):
            answer = folder / "answer"
            nursery.stdin.write(json.dumps([math.ceil(timeout), str(answer), *map(str, command[3:8])]) + "\n")
            nursery.stdin.flush()
            code = int(nursery.stdout.readline())
            if code == -signal.SIGALRM:
                raise TimeoutError
            return SimpleNamespace(returncode=code, stdout=answer.read_bytes(), stderr=b"")

        instead = SimpleNamespace(run=run, DEVNULL=None, TimeoutExpired=TimeoutError)
        with mock.patch.object(hdf5_child, "subprocess", instead):
            yield
        nursery.stdin.close()


def originals(folder: Path) -> list[Path]:
    """Files of every kind that is read: dense, convolutions, our own with integers and others' without."""
    folder.mkdir(exist_ok=True)
    networks = {kind: make(**{"sizes": (12, 7, 3), **options}) for kind, options in KINDS.items()} | {
        "maps": portable((Convolution((2, 8, 8), 3, (3, 3), (2, 2), (1, 1)),))[0]
    }
    found = []
    for kind, network in networks.items():
        for suffix, module in FORMATS.items():
            path = folder / f"{kind.replace(' ', '-')}.{suffix}"
            with contextlib.suppress(InputError):  # not everything can be said in both
                module.write(path, network)
                found.append(path)
                # As others write them: without our integers.
                stripped = path.with_stem(f"{path.stem}-foreign")
                shutil.copy(path, stripped)
                with h5py.File(stripped, "r+") as file:
                    for name in [name for name in names_of(file) if "polystep" in name]:
                        if name in file:
                            del file[name]
                found.append(stripped)
    for alpha in (None, 0.8):
        nir.write(folder / f"float-{alpha}.nir", snntorch_graph(alpha=alpha, size=(12, 7, 3)))
        found.append(folder / f"float-{alpha}.nir")
    return found


def names_of(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def restructured(path: Path, chance: random.Random) -> None:
    """One to three groups, arrays or strings deleted, moved, retyped, reshaped, or given another value."""
    with h5py.File(path, "r+") as file:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            names = names_of(file)
            if names:
                _change(file, chance.choice(names), chance)


def _change(file: h5py.File, name: str, chance: random.Random) -> None:
    item, action = file[name], chance.random()
    if action < 0.15:
        del file[name]
    elif action < 0.25:
        _move(file, name, f"{name}{chance.choice('x0_')}")
    elif action < 0.3:
        del file[name]
        file.create_group(name)
    elif action < 0.35 and f"{name}-again" not in file:
        file[f"{name}-again"] = np.float32(1) if action < 0.32 else h5py.SoftLink("/") if action < 0.335 else np.zeros((2, 3))
    elif isinstance(item, h5py.Group):
        _move(file, name, f"{name.rpartition('/')[0]}/{chance.choice('0123456789')}")
    else:
        _replace(file, name, item[()], chance)


def _move(file: h5py.File, name: str, new: str) -> None:
    if new not in file:
        file.move(name, new)


def _replace(file: h5py.File, name: str, value, chance: random.Random) -> None:
    del file[name]
    if not isinstance(value, np.ndarray | np.number | np.bool_) or np.asarray(value).dtype.kind in "OS":
        file[name] = chance.choice((*_TEXTS, *_NUMBERS))
        return
    array, action = np.array(value), chance.random()
    with np.errstate(all="ignore"):
        if action < 0.25:
            kind = chance.choice(_TYPES)
            changed = array.astype(kind) if array.dtype.kind in "biuf" else np.zeros(3, kind)
        elif action < 0.4:
            changed = chance.choice((array[None], array.reshape(-1), array.reshape(-1)[:-1], array.reshape(-1)[:0], array.T))
        elif action < 0.5:
            changed = np.array(chance.choice(_NUMBERS))
        elif action < 0.55:
            file[name] = chance.choice(_TEXTS)
            return
        else:
            changed = array.astype(array.dtype if action < 0.8 else "f8")
            where = slice(None) if action < 0.7 else slice(0, 1)
            number = chance.choice(_NUMBERS)
            if changed.dtype.kind in "biuf" and changed.size:
                fits = changed.dtype.kind == "f" or (np.isfinite(number) and float(number).is_integer())
                changed.reshape(-1)[where] = np.array(number if fits else 1, "f8").astype(changed.dtype)
    file[name] = changed


def outcome(path: Path) -> str:
    """What becomes of a file; raises whatever is no ``InputError``, or comes after it was accepted."""
    found = []
    try:
        network = netx.read(path, num_steps=6) if path.suffix == ".net" else nir_format.read(path)
    except InputError as error:
        _check(error)
    else:
        use(network, path.with_suffix(".safetensors"))
        found.append("read")
    if path.suffix == ".nir":
        try:
            spiking = from_nir(path)
        except InputError as error:
            _check(error)
        else:
            values, *_ = spiking(torch.ones(2, 2, spiking.sizes[0], dtype=spiking.weights[0].dtype))
            assert values.isfinite().all()
            found.append("made a network")
    return " and ".join(found) or "refused"


def _check(error: InputError) -> None:
    message = str(error)
    assert message.isprintable(), repr(message)
    assert len(message) < 800, message


def use(network: IntegerNetwork, path: Path) -> None:
    spikes = np.ones((min(network.num_steps, 3), 2, network.sizes[0]), np.uint8)
    network = network if network.num_steps == len(spikes) else IntegerNetwork(**{**vars(network), "num_steps": len(spikes)})
    expected = Simulator(network).run(spikes)
    network_file.save(path, network)
    assert np.array_equal(Simulator(network_file.load(path)).run(spikes), expected)
    path.unlink()


def try_some(folder: Path, count: int, seed: int) -> Counter:
    """What became of so many mutations: half of the bytes, half of what they mean."""
    chance, found = random.Random(seed), Counter()
    files = originals(folder / "originals")
    with quick_children(folder):
        for path in files:
            assert outcome(path) != "refused", path
        for number in range(count):
            original = chance.choice(files)
            path = folder / f"mutated{original.suffix}"
            if number % 2:
                shutil.copy(original, path)
                restructured(path, chance)
            else:
                path.write_bytes(mutated(original.read_bytes(), chance.randrange(2**32)))
            try:
                found[outcome(path)] += 1
            except Exception as error:
                raise AssertionError(f"mutation {number} of seed {seed}, {original.name}: {type(error).__name__}: {error}") from error
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable()
    with tempfile.TemporaryDirectory() as place:
        for outcomes, times in try_some(Path(place), int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0).items():
            print(times, outcomes)  # noqa: T201
