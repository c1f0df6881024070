"""torch's compiler, which a GPU's steps go through, gives what the eager pass gives; without one the eager pass runs, and says so."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from polystep_snn import DirectCurrent, PolyStep, Rate, SpikeCountReadout, SpikingNetwork
from polystep_snn.engine.compiled import Kernels
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.spaces.node.populations import at_rest, drive, probe

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


@pytest.mark.compiled
@pytest.mark.slow
@needs_compiler
def test_spikes_are_the_same_to_the_last_one():
    p = LIFParameters()
    current = torch.rand(12, 20, 16, generator=torch.Generator().manual_seed(0)) - 0.2
    shift = torch.tensor([[0.3, -0.3]]).expand(12, 2)
    compiled, eager = Kernels(True), Kernels(False)
    for fn, arguments in (
        (drive, (current, at_rest(current[0], p), p, 1.0, 12, True)),
        (probe, (current, shift, current.round(), at_rest(current[0].expand(2, -1, -1), p), p, 0.9, 12)),
    ):
        a, b = compiled(fn)(*arguments), eager(fn)(*arguments)
        assert compiled.compile, "the compilation failed"
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[-1].state.v, b[-1].state.v)
        assert torch.equal(a[-1].trace, b[-1].trace)


@pytest.mark.compiled
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("readout", ["membrane", "count"])
def test_a_compiled_step_gives_the_eager_gradient(readout):
    sizes, options = ([20, 12, 3], {}) if readout == "membrane" else ([20, 8, 6, 3], {"readout": SpikeCountReadout(residual=0.5)})
    options["neuron"] = LIFParameters(v_th=0.1)
    networks = [SpikingNetwork(sizes, generator=torch.Generator().manual_seed(0), **options) for _ in range(2)]
    image, target = torch.rand(16, 20, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3
    encoder = DirectCurrent(3) if readout == "membrane" else Rate(3)
    results = []
    for network, kernels in zip(networks, (Kernels(True), Kernels(False)), strict=True):
        step = PolyStep(network, compile=False)
        step.kernels = kernels
        wanted = kernels.compile
        results.append(step.step(encoder(image), target))
        assert kernels.compile == wanted
    assert all(map(torch.equal, results[0].rates, results[1].rates))
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)
        assert a.grad.abs().max() > 1e-4


SCRIPT = """
import torch
from polystep_snn import DirectCurrent, PolyStep, SpikingNetwork
from polystep_snn.engine.compiled import Kernels
network = SpikingNetwork([20, 12, 3], generator=torch.Generator().manual_seed(0))
step = PolyStep(network, compile=False)
step.kernels = Kernels(True)
for _ in range(3):
    step.step(DirectCurrent(5)(torch.full((4, 20), 0.5)), torch.arange(4) % 3)
print(step.kernels.compile, float(network.linears[0].weight.grad.abs().max()) > 0)
"""


@pytest.mark.slow
def test_without_a_compiler_it_says_so_once_and_runs(tmp_path):
    environment = {**os.environ, "CXX": str(tmp_path / "no-such-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["False", "True"]
    said = [line for line in done.stderr.splitlines() if "without torch.compile" in line]
    assert len(said) == 1
    assert "no-such-compiler" in said[0] or "compiler" in said[0].lower()
