"""The data of a run: found by name or path, read as the run treats it, compared with what it was trained on."""

import logging
from pathlib import Path
from typing import NamedTuple

from polystep_snn.datasets import NAMES, Dataset, load
from polystep_snn.datasets.config import EVENTS, SEQUENCE
from polystep_snn.datasets.own.describe import describe
from polystep_snn.datasets.own.load import Reading, load_own
from polystep_snn.datasets.own.paths import find_own
from polystep_snn.datasets.own.record import DataRecord, record_of
from polystep_snn.errors import InputError
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import RECIPES

_log = logging.getLogger("polystep_snn")
# What needs no encoder, and what stands in its place.
NO_ENCODER: dict[str | None, str] = {EVENTS: f"event recordings: choose {EVENTS!r}", SEQUENCE: f"sequences: choose {SEQUENCE!r}"}
# The encoder that data of one's own needs; images have several.
ENCODER_OF_KIND = {"events": EVENTS, "sequences": SEQUENCE, "sounds": SEQUENCE}
# Which take any number; others take intensities in [0, 1].
UNBOUNDED = ("direct", "rows", SEQUENCE)


class Loaded(NamedTuple):
    """Data, and what a run remembers of it."""

    dataset: Dataset
    record: DataRecord


def load_run_data(config: TrainConfig, data_dir: Path | None = None, known: DataRecord | None = None, other: str | None = None) -> Loaded:
    """The data that a configuration names.

    Args:
        config: of the run.
        data_dir: where to look first.
        known: what the run has remembered; samples are scaled and classes numbered as they were then.
        other: name or path of other data, which the run is tested on.

    Raises:
        InputError: an encoder that is not for such data; data that is not there, or not what it was.
    """
    data = config.data
    name = other or data.dataset
    framing = data.framing() if data.holds_events else None
    if name in NAMES:
        if name in RECIPES:
            check_encoder(data.encoder, RECIPES[name].get("encoder"), name)
        if config.method.cost == "mse":
            raise InputError(f"cost is 'mse', but {name} has classes: choose 'entropy', or data with real targets")
        dataset = load(name, data_dir, framing, data.speech_features(), data.speaker)
        record = record_of(dataset)
    else:
        before = known.path if known is not None and other is None else ""
        where = None if other is not None and Path(other).exists() else data_dir
        found = describe(find_own(name, where, before), data.encoder == SEQUENCE and data.kind != "sounds", other is not None)
        check_encoder(data.encoder, ENCODER_OF_KIND.get(found.kind), str(found.path))
        values, clip = config.method.cost == "mse", data.encoder not in UNBOUNDED
        reading = Reading(values, clip, framing, data.speech_features(), known, other is not None, data.validation_share)
        dataset, record = load_own(name, found, reading)
    if config.network.neuron == "loihi" and data.holds_sequences and not record.spikes:
        raise InputError(f"the sequences of {name} are currents, but the neuron 'loihi' takes spikes: choose 'lif', or give 0 and 1")
    if known is not None:
        say_difference(record, known)
    return Loaded(dataset, record)


def check_encoder(encoder: str, needed: str | None, where: str) -> None:
    """InputError unless an encoder is for such data; ``needed`` stands for none."""
    if needed != (encoder if encoder in NO_ENCODER else None):
        raise InputError(f"encoder is {encoder!r}, but {where} holds {NO_ENCODER.get(needed, 'images: choose another one')}")


def say_difference(found: DataRecord, known: DataRecord) -> None:
    """A line where data is other than what a run was trained on; such data is taken all the same."""
    if found.fingerprint == known.fingerprint:
        return
    sizes = "" if found.sizes == known.sizes else f", {found.sizes} samples instead of {known.sizes}"
    _log.warning(
        "the data is other than what the run was trained on (fingerprint %s instead of %s%s): results are of this data",
        *(found.fingerprint[:8], known.fingerprint[:8], sizes),
    )
