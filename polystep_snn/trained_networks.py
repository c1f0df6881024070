"""Trained networks that come with the package, by name: ``network, card = pretrained("mnist-int8")``.

Each is a folder with files of the run that made it: its configuration, its metrics, its integers, and a card that says what it is. To read
one numpy is enough; ``open_run(Path("mnist-int8"))`` makes a ``SpikingNetwork`` of it. ``benchmarks/make_pretrained.py`` trains them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from polystep_snn.errors import InputError
from polystep_snn.files import read_json
from polystep_snn.hardware import network_file
from polystep_snn.hardware.integer_network import IntegerNetwork

FOLDER = Path(__file__).parent / "trained"
CARD = "card.json"
FILES = ("config.json", "metrics.jsonl", "network.safetensors")


@dataclass(frozen=True)
class Card:
    """What a trained network is, and what it can do.

    Attributes:
        name: as ``pretrained`` takes it.
        title: layers, data and input, in a line.
        dataset: what it was trained and tested on; a subset is called one.
        test_accuracy: on the test part of that, in [0, 1].
        test_samples: how many samples that part has.
        val_accuracy: on the validation part, which chose epoch and seed.
        epoch: whose weights these are.
        command: what made it.
        val_accuracy_by_seed: of every seed that was tried.
        seconds: that training all of them took.
        versions: of what it was made with.
        data: where the data comes from.
        data_licence: its terms.
        licence: of these files.
        sha256: fingerprints of these files, by name.
    """

    name: str
    title: str
    dataset: str
    test_accuracy: float
    test_samples: int
    val_accuracy: float
    epoch: int
    command: str
    val_accuracy_by_seed: dict[str, float]
    seconds: int
    versions: dict[str, str]
    data: str
    data_licence: str
    licence: str
    sha256: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where its files lie; for reading."""
        return FOLDER / self.name


class Pretrained(NamedTuple):
    """A trained network in the chip's integers, and its card."""

    network: IntegerNetwork
    card: Card


def pretrained_names() -> list[str]:
    """The trained networks that there are."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}"))


def pretrained(name: str) -> Pretrained:
    """A trained network: ready for a backend, for ``network_file.save`` and for the formats of other tools.

    Raises:
        InputError: there is none of that name, or its files are not those that were shipped.
    """
    if name not in pretrained_names():
        raise InputError(f"there is no trained network {name!r}: choose one of {', '.join(pretrained_names())}")
    card = Card(name, **read_json(FOLDER / name / CARD))
    for file, expected in card.sha256.items():
        path = card.folder / file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise InputError(f"{path} is missing or was changed: install polystep-snn again")
    return Pretrained(network_file.load(card.folder / "network.safetensors"), card)


def folder_of(path: Path) -> Path:
    """The folder of the run that a user has named: the one there is, else that of the trained network of this name."""
    return path if path.exists() or str(path) not in pretrained_names() else FOLDER / path
