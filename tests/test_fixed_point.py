"""Loihi's arithmetic by hand and against Python's integers of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystep_snn.hardware.fixed_point import CubaState, cuba_step, decay, wrap24

registers = st.integers(-(2**23) + 1, 2**23 - 1)


@given(registers, st.integers(0, 4096))
def test_decay_rounds_toward_zero(x, d):
    exact = abs(x) * (4096 - d) // 4096
    assert decay(np.array([x], np.int32), d).tolist() == [exact if x > 0 else -exact]
    assert decay(np.array([x], np.int32), d).dtype == np.int32


@given(st.integers(-(2**24), 2**24))
def test_wrap_is_a_register_of_24_bits(x):
    found = int(wrap24(np.array([x], np.int32))[0])
    assert -(2**23) < found <= 2**23
    assert (found - x) % 2**24 == 0


def test_wrap_at_its_edges():
    edges = np.array([2**23 - 1, 2**23, 2**23 + 1, -(2**23) + 1, -(2**23), 3 * 2**23 + 5], np.int32)
    assert wrap24(edges).tolist() == [2**23 - 1, 2**23, -(2**23) + 1, -(2**23) + 1, 2**23, 2**23 + 5]  # the last wraps only once


def test_a_trace_by_hand():
    """du = 2047 halves the current, dv = 1024 takes a quarter of the membrane; 10 << 6 = 640 arrives in the first step."""
    state = CubaState(*np.zeros((2, 1), np.int32))
    trace = []
    for a in (10, 0, 0):
        z, state = cuba_step(np.array([a], np.int32), state, du=2047, dv=1024, vth=14, bias=3)
        trace.append((int(state.u[0]), int(state.v[0]), bool(z[0])))
    # v: 643; 482 + 320 + 3 = 805; 603 + 160 + 3 = 766. Threshold 14 << 6 = 896.
    assert trace == [(640, 643, False), (320, 805, False), (160, 766, False)]


@pytest.mark.parametrize(("vth", "fires"), [(10, False), (9, True)])
def test_the_threshold_is_strict_and_resets_the_membrane_alone(vth, fires):
    z, state = cuba_step(np.array([10], np.int32), CubaState(*np.zeros((2, 1), np.int32)), du=0, dv=0, vth=vth)
    assert bool(z[0]) is fires
    assert state.v[0] == (0 if fires else 640)
    assert state.u[0] == 640


def test_a_membrane_saturates_and_a_current_wraps():
    full = CubaState(np.array([2**23 - 1], np.int32), np.array([2**23 - 1], np.int32))
    _, state = cuba_step(np.array([1000], np.int32), full, du=0, dv=0, vth=2**17 - 1, bias=100)
    assert state.u[0] == (2**23 - 1) * 4095 // 4096 + 64000 - 2**24
    _, state = cuba_step(np.array([0], np.int32), CubaState(np.zeros(1, np.int32), full.v), du=4095, dv=0, vth=2**20, bias=100)
    assert state.v[0] == 2**23 - 1
