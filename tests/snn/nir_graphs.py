"""NIR graphs of neurons."""

from itertools import pairwise

import nir
import numpy as np


def graph_of(*nodes, names=None, edges=None, **options):
    """A chain; ``names`` for the nodes between input and output."""
    names = names or [f"n{k}" for k in range(len(nodes))]
    shape = nodes[0].input_type["input"]
    named = {"input": nir.Input({"input": shape}), **dict(zip(names, nodes, strict=True))}
    named["output"] = nir.Output({"output": np.array(nodes[-1].output_type["output"])})
    return nir.NIRGraph(named, edges or list(pairwise(named)), **options)


def snntorch_graph(beta=0.9, size=(20, 30, 5), alpha=None, flatten=False):
    """What snnTorch's ``export_to_nir`` makes of ``Sequential(Linear, Leaky, Linear, Leaky)``: float32, a step of 1e-4, r = tau / dt."""
    rng, dt, nodes = np.random.default_rng(0), np.float32(1e-4), []
    for m, n in pairwise(size):
        nodes.append(nir.Affine(weight=rng.uniform(-0.4, 0.5, (n, m)).astype("f4"), bias=rng.uniform(-0.1, 0.1, n).astype("f4")))
        tau = dt / (1 - np.full(n, beta, np.float32))
        ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
        if alpha is None:
            nodes.append(nir.LIF(tau=tau, v_threshold=ones, v_leak=zeros, r=tau / dt, v_reset=zeros))
        else:
            syn = dt / (1 - np.full(n, alpha, np.float32))
            constants = {"v_threshold": ones, "v_leak": zeros, "r": tau / dt, "w_in": syn / dt, "v_reset": zeros}
            nodes.append(nir.CubaLIF(tau_syn=syn, tau_mem=tau, **constants))
    if flatten:
        shape = np.array([4, size[0] // 4])
        nodes.insert(0, nir.Flatten(input_type={"input": shape}, start_dim=0, end_dim=-1))
    # Its names are the modules' places, and its edges come in no order.
    graph = graph_of(*nodes, names=[str(k) for k in range(len(nodes))])
    graph.edges.reverse()
    return graph


def linear(n=3, m=4, value=1.0):
    return nir.Linear(np.full((n, m), value))
