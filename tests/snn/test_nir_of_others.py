"""A recurrent network that several programs ran (Pedersen et al. 2024, paper/03_rnn): ours fires as Norse and snnTorch recorded it.

The input of their recordings is not at hand, so one is looked for. While the recorded spikes are given, membranes are affine in the input:
whether any input at all makes every neuron fire as recorded, and no other, is a linear program.
"""

import os
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from polystep_snn.geometry import Recurrent
from polystep_snn.snn.from_nir import from_nir

STEPS = 40
INFEASIBLE = 2


@pytest.fixture(scope="module")
def folder():
    base = os.environ.get("POLYSTEP_SNN_DATA")
    found = Path(base or "") / "peers"
    if not base or not (found / "braille_noDelay_bias_zero.nir").exists():
        pytest.skip("POLYSTEP_SNN_DATA holds no peers/braille_noDelay_bias_zero.nir: the recurrent network is not here")
    return found


@pytest.fixture
def network(folder):
    return from_nir(folder / "braille_noDelay_bias_zero.nir").double()


def recorded(folder, program, num_steps=STEPS):
    """The hidden spikes of a program, [T, 38]."""
    return np.load(folder / f"{program}_activity_noDelay_bias_zero.npy")[:num_steps] > 0


def find_input(network, z, lag=1):
    """What scipy says of inputs ``[T, 12]`` from 0 to 1 for which the first layer fires as ``z: [T, 38]``, heard ``lag`` steps later."""
    weight, bias, recurrent = (x.numpy() for x in (network.weights[0], network.biases[0], network.recurrents["0"]))
    (num_steps, num_neurons), num_inputs, p = z.shape, weight.shape[1], network.neurons[0]
    own = np.vstack([np.zeros((lag, num_neurons)), z])[:num_steps] @ recurrent.T + bias
    # Of current and membrane: what a unit of input in each step adds, and what is there without input.
    by_input, given = np.zeros((2, num_neurons, num_steps)), np.zeros((2, num_neurons))
    rows, bounds = [], []
    for t in range(num_steps):
        by_input[0] *= p.alpha
        by_input[0, :, t] += 1
        given[0] = p.alpha * given[0] + own[t]
        by_input[1] = p.beta * by_input[1] + by_input[0]
        given[1] = p.beta * given[1] + given[0]
        sign = np.where(z[t], -1.0, 1.0)
        rows.append((sign[:, None, None] * by_input[1][:, :, None] * weight[:, None]).reshape(num_neurons, -1))
        bounds.append(sign * (p.v_th - given[1]) - 1e-6)
        by_input[1, z[t]], given[1, z[t]] = 0, 0
    constraint = LinearConstraint(csr_array(np.vstack(rows)), -np.inf, np.hstack(bounds))
    count = num_steps * num_inputs
    return milp(np.ones(count), constraints=constraint, bounds=Bounds(0, 1))


def test_it_is_read(network):
    assert network.architecture == [12, Recurrent(38), 7]
    assert [p.reset for p in (*network.neurons, network.readout.neuron)] == ["zero", "zero"]
    assert [network.neurons[0].alpha, network.readout.neuron.alpha] == pytest.approx([0.55, 0.5])
    assert [network.neurons[0].beta, network.readout.neuron.beta] == pytest.approx([0.9, 0.55])


@pytest.mark.parametrize("program", ["norse", "snntorch"])
def test_there_is_an_input_for_which_it_fires_as_recorded(folder, network, program):
    z = recorded(folder, program)
    assert z.sum() > 10
    found = find_input(network, z)
    assert found.success
    state = network.initial_state(1)
    for t, frame in enumerate(torch.from_numpy(found.x).reshape(STEPS, 1, 12)):
        (spikes,), state = network.step(frame, state)
        assert np.array_equal(spikes[0].numpy() > 0, z[t]), t


def test_no_input_explains_it_by_another_convention(folder, network):
    """Spikes that come back two steps later or not at all, weights from row to column, no biases of the way back."""
    z = recorded(folder, "norse")
    assert find_input(network, z).success
    assert find_input(network, z, lag=2).status == INFEASIBLE
    recurrent = network.recurrents["0"].clone()
    for other in (torch.zeros_like(recurrent), recurrent.T):
        network.recurrents["0"].copy_(other)
        assert find_input(network, z).status == INFEASIBLE
    network.recurrents["0"].copy_(recurrent)
    network.biases[0].sub_(torch.from_numpy(nir.read(folder / "braille_noDelay_bias_zero.nir").nodes["lif1.w_rec"].bias))
    assert find_input(network, z).status == INFEASIBLE
