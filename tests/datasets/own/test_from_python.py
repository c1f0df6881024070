"""Data of one's own from Python: arrays, torch's and tonic's data sets."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from polystep_snn import TrainConfig, Trainer
from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.own import from_arrays, from_samples
from polystep_snn.errors import InputError
from polystep_snn.training.deploy import deploy
from polystep_snn.training.run_folder import open_run
from tests.datasets.own.files import arrays, events, load, npz


def test_arrays_are_the_data_of_their_file(tmp_path):
    given = arrays()
    data, record = from_arrays("mine", *((given[f"x_{part}"], given[f"y_{part}"]) for part in ("train", "val", "test")))
    assert record.fingerprint == load(npz(tmp_path))[1].fingerprint
    assert (data.name, record.path) == ("mine", "")


def test_a_data_set_of_torch_from_training_to_integers(tmp_path, digits):
    images = torch.from_numpy(digits.train.images[:200]).unsqueeze(1).float() / 16
    data, record = from_samples("mine", TensorDataset(images, torch.from_numpy(digits.train.labels[:200].astype(np.int64))))
    assert record.sizes == (143, 18, 39)
    config = TrainConfig(
        "mine", neuron="loihi", weight_bits=8, encoder="rate", num_steps=4, hidden=(8,), epochs=1, batch_size=16, compile=False
    )
    Trainer(config, tmp_path / "run", data, record=record).fit()
    assert deploy(open_run(tmp_path / "run")).integers.sizes == [64, 8, 10]


class Recordings:
    """As tonic's data sets are."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        return events(index, start=0), index % 2


def test_recordings_as_tonic_gives_them():
    framing = Framing(4, 2000)
    data, record = from_samples("mine", Recordings(20), test=Recordings(6), framing=framing, sensor=(5, 4, 2))
    assert record.sizes == (18, 2, 6)
    for number in range(6):
        expected = framing.frame(events(number, start=0), (5, 4, 2), "")
        start, end = data.test.starts[number], data.test.ends[number]
        assert np.array_equal(data.test.steps[start:end], expected.steps)
        assert np.array_equal(data.test.channels[start:end], expected.channels)
    assert data.test.labels.tolist() == [0, 1] * 3
    with pytest.raises(InputError, match="mine holds events: give framing"):
        from_samples("mine", Recordings(20))


def test_samples_of_several_shapes_are_refused():
    ragged = [(np.zeros((2, 2 + (k == 3))), k % 2) for k in range(8)]
    with pytest.raises(InputError, match=r"mine has a sample of \[2, 3\], number 3 of train, the first is \[2, 2\]"):
        from_samples("mine", ragged)
