"""Loihi's arithmetic by hand and against Python's integers of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystep_snn.hardware.fixed_point import CubaRegisters, CubaState, cuba_step, decay, wrap24

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


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20), st.integers(1, 4095))
def test_registers_decay_as_decay_does_even_beyond_24_bits(values, d):
    x = np.array(values, np.int32)
    registers = CubaRegisters(x.shape, du=d - 1, dv=0, vth=np.array(0), bias=np.array(0))
    registers.u[...] = x
    registers.step(np.zeros(x.shape, np.int32))
    assert registers.u.tolist() == wrap24(decay(x, d)).tolist()
    assert decay(x, d).tolist() == [int(np.sign(v)) * (abs(v) * (4096 - d) // 4096) for v in values]


@pytest.mark.parametrize("du", [0, 1000, 4095])
@pytest.mark.parametrize("dv", [0, 128, 4095])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_registers_step_as_the_equations_do(du, dv, dtype):
    rng = np.random.default_rng(du + dv)
    vth, bias = rng.integers(0, 2**17, 40), rng.integers(-(2**22), 2**22, 40)
    registers = CubaRegisters((30, 40), du, dv, vth, bias)
    state = CubaState(*np.zeros((2, 30, 40), np.int32))
    for _ in range(20):
        a = rng.integers(-150_000, 150_000, (30, 40), dtype=np.int32)
        z, state = cuba_step(a, state, du, dv, vth.astype(np.int32), bias.astype(np.int32))
        registers.step((a << 6).astype(dtype))
        assert np.array_equal(registers.z, z)
        assert np.array_equal(registers.u, state.u)
        assert np.array_equal(registers.v, state.v)
    assert 0 < z.mean() < 1
