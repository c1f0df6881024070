"""A model in Norse comes in with its spikes, is rounded for the chip, and runs on a backend with the numbers of torch."""

import numpy as np
import pytest
import torch

from polystep_snn import from_norse
from polystep_snn.convert import quantized, record_registers, to_integer_network
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.verify import compare
from tests.hardware.formats.test_nir_by_others import run_in_norse

norse = pytest.importorskip("norse.torch", exc_type=ImportError)
T, B = 16, 24


def model():
    from norse.torch.functional.lif_box import LIFBoxParameters

    torch.manual_seed(0)
    p = LIFBoxParameters(tau_mem_inv=torch.tensor(100.0), v_th=torch.tensor(0.3), method="heaviside")
    first, second = torch.nn.Linear(30, 40), torch.nn.Linear(40, 5)
    with torch.no_grad():
        first.weight.mul_(6), second.weight.mul_(6)
        first.bias.zero_(), second.bias.zero_()
    return norse.SequentialState(first, norse.LIFBoxCell(p), second, norse.LIFBoxCell(p))


def spikes():
    return (torch.rand(T, B, 30, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def counted(network, x):
    state, total = None, 0
    with torch.no_grad():
        for frame in x:
            z, state = network(frame, state)
            total = total + z
    return total


@pytest.mark.parametrize("backend_name", ["simulator", "lava"])
def test_from_norse_to_the_chip(backend_name, request):
    if backend_name == "lava":
        request.getfixturevalue("lava_python")
    x = spikes()
    theirs = model()
    network = from_norse(theirs)
    counts = counted(theirs, x)
    assert counts.mean() > 0.5
    assert torch.equal(network(x)[0], counts)

    rounded, fits = quantized(network)
    assert len(fits) == 2
    integers = to_integer_network(rounded, T, "events", (30,), tuple("abcde"))
    with open_backend(backend_name, integers) as backend:
        recording = backend.record(x.numpy().astype(np.uint8))
    comparison = compare(record_registers(rounded.layers(), x), recording.layers)
    assert comparison.spikes == T * B * 45
    assert comparison.differences == 0
    assert recording.layers[-1].z.sum() > 100


def test_ours_in_norse(tmp_path):
    """The other way, by NIR: the full comparison is in ``tests/hardware/formats/test_nir_by_others.py``."""
    from polystep_snn.hardware.formats import nir
    from polystep_snn.hardware.simulator import Simulator
    from tests.hardware.formats.written import make, spikes_for

    network = make("count", bias=20, vth=120)
    nir.write(tmp_path / "ours.nir", network)
    x = spikes_for(network)
    trains, _ = run_in_norse(tmp_path / "ours.nir", x)
    expected = Simulator(network).record(x)
    assert all(np.array_equal(train > 0, layer.z) for train, layer in zip(trains, expected.layers, strict=True))
