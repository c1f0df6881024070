"""NIR graphs that have no counterpart here are refused by name."""

import nir
import numpy as np
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.network import SpikingNetwork
from tests.snn.nir_graphs import graph_of, linear, snntorch_graph


def test_the_dtype_is_that_of_the_weights():
    assert from_nir(snntorch_graph(), dt=1e-4).weights[0].dtype == torch.float32
    assert isinstance(from_nir(snntorch_graph(), dt=1e-4), SpikingNetwork)


def lif(size=3, **changes):
    ones = np.ones(size)
    return nir.LIF(**{"tau": 0.01 * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones, **changes})


def branch():
    nodes = {"input": nir.Input({"input": np.array([3])}), "a": linear(3, 3), "b": lif(), "c": lif(), "output": nir.Output({"output": [3]})}
    return nir.NIRGraph(nodes, [("input", "a"), ("a", "b"), ("a", "c"), ("b", "output"), ("c", "output")], type_check=False)


def recurrent():
    graph = graph_of(linear(3, 3), lif(), linear(3, 3), lif())
    graph.edges.append(("n3", "n2"))
    return graph


def loop_apart():
    graph = graph_of(linear(), lif())
    graph.nodes |= {"x": linear(3, 3), "y": lif()}
    graph.edges += [("x", "y"), ("y", "x")]
    return graph


def dead_end():
    graph = graph_of(linear(), lif())
    graph.edges.remove(("n1", "output"))
    return graph


def back_to_the_start():
    graph = graph_of(linear(), lif())
    graph.edges[-1] = ("n1", "input")
    return graph


def with_edges(edges):
    graph = graph_of(linear(), lif())
    graph.edges = edges
    return graph


def without(field):
    graph = graph_of(linear(), lif())
    setattr(graph.nodes["n1"], field, None)
    return graph


def inconsistent(weight):
    graph = graph_of(linear(), lif())
    graph.nodes["n0"].weight = weight
    return graph


@pytest.mark.parametrize(
    ("make_graph", "message"),
    [
        (branch, "node 'a' has more than one edge out"),
        (recurrent, "node 'n3' has more than one edge out"),
        (loop_apart, "node 'y' is not on the way"),
        (dead_end, "node 'output' is not on the way"),
        (back_to_the_start, "node 'output' is not on the way"),
        (lambda: with_edges([("input", "n0"), ("n0", "nowhere")]), "'nowhere', but there is no such node"),
        (lambda: with_edges([("input", "n0", "n1")]), "no usable 'edges'"),
        (lambda: graph_of(linear()), "node 'n0' is the last layer and has no neurons"),
        (lambda: graph_of(linear(), linear(3, 3)), "node 'n1' is Linear, expected LIF, CubaLIF, IF, LI, I"),
        (lambda: graph_of(lif(), lif()), "node 'n0' is LIF, expected Affine, Linear, Conv2d, SumPool2d, AvgPool2d"),
        (lambda: graph_of(linear(), nir.LI(*np.ones((2, 3)), np.zeros(3)), linear(3, 3), lif()), "node 'n1' is LI.*only the last may"),
        (lambda: graph_of(linear(), nir.Threshold(np.ones(3))), "node 'n1' is Threshold"),
        (lambda: graph_of(linear(value=np.nan), lif()), "node 'n0': weight contains NaN"),
        (lambda: graph_of(linear(value=3e38), lif()), r"weights or biases.* contain numbers beyond 1e\+15: scale them down"),
        (lambda: graph_of(nir.Affine(np.ones((3, 4)), np.full(3, np.inf)), lif()), "node 'n0': bias contains NaN, infinity"),
        (lambda: graph_of(linear(), lif(v_threshold=np.array([1, 1, np.nan]))), "node 'n1': v_threshold contains NaN"),
        (lambda: graph_of(linear(), lif(v_threshold=np.array([1.0, 0, 1]))), "node 'n1': a threshold is 0"),
        (lambda: graph_of(linear(), lif(tau=np.array([0.01, 0.02, 0.02]))), "node 'n1': tau has 2 different values"),
        (lambda: graph_of(linear(), lif(tau=np.zeros(3))), "node 'n1': a time constant is 0"),
        (lambda: graph_of(linear(), lif(tau=np.full(3, 1e-4))), "how long a step is: name it with the argument dt="),
        (lambda: graph_of(linear(), nir.LI(np.full(3, 1e-3), np.ones(3), np.zeros(3))), "node 'n1': the readout's decay is 0"),
        (lambda: graph_of(linear(), nir.IF(np.ones(3), np.ones(3))), "node 'n1': r is 1.*name the argument dt=1"),
        (lambda: without("tau"), "node 'n1' has no usable 'tau'"),
        (lambda: without("r"), "node 'n1' has no usable 'r'"),
        (lambda: inconsistent(np.ones((3, 5))), r"the input has shape \[4\], but node 'n0' takes 5"),
        (lambda: inconsistent(np.ones((2, 4))), "node 'n1': r has 3 values for 2 neurons"),
        (lambda: inconsistent(np.ones((3, 4, 1))), r"node 'n0' has weights \[3, 4, 1\]"),
        (lambda: inconsistent(np.array([["a"]])), "node 'n0': weight contains NaN, infinity or nothing"),
        (lambda: lif(), "the graph is a LIF"),
        (lambda: "absent.nir", "absent.nir is not a file"),
    ],
)
def test_what_has_no_counterpart_is_named(make_graph, message):
    with pytest.raises(InputError, match=message) as caught:
        from_nir(make_graph())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dt", [0.0, -1e-3, float("nan"), float("inf")])
def test_a_step_has_a_length(dt):
    with pytest.raises(InputError, match="dt is"):
        from_nir(snntorch_graph(), dt=dt)


def test_widths_must_fit():
    graph = graph_of(linear(), lif(), linear(2, 3), lif(2))
    graph.nodes["n2"].weight = np.ones((2, 7))
    with pytest.raises(InputError, match="node 'n2' takes 7 inputs, but node 'n1' sends 3"):
        from_nir(graph)
