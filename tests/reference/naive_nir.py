"""A NIR graph, one node after the other, one step of Euler's rule after the other: slow and obvious. Written from NIR's equations::

    IF       v += dt r I                                          CubaLIF  i += dt / tau_syn (w_in I - i)
    LIF      v += dt / tau (v_leak - v + r I)                              v += dt / tau_mem (v_leak - v + r i)
    fired = v > v_threshold; then v = v_reset                     Delay    y(t) = x(t - delay)

What comes in at a node is the sum of what its sources last sent: in this step where they come before it, else in the step before.
"""

import numpy as np


def order_of(graph):
    """Names by distance from the input."""
    found = [name for name, node in graph.nodes.items() if type(node).__name__ == "Input"]
    for name in found:
        found += [target for source, target in graph.edges if source == name and target not in found]
    return found


def shift(past, delay):
    """``x(t - delay)``, with delays [M] in steps and all of the past in a list."""
    return np.array([past[-1 - d][m] if d < len(past) else 0.0 for m, d in enumerate(delay)])


def naive_nir(graph, spikes, dt):
    """What every node sends, by name, ``[T, N]``, for one sample of spikes ``[T, M]``."""
    order = order_of(graph)
    sent = {name: [] for name in order}
    received = {name: [] for name in order}
    v, i = dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)
    for t, frame in enumerate(spikes):
        for name in order:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            sources = [source for source, target in graph.edges if target == name and sent[source]]
            x = sum((sent[source][-1] for source in sources), 0.0)
            received[name].append(x)
            if kind == "Input":
                y = frame.astype(np.float64)
            elif kind in ("Linear", "Affine"):
                y = node.weight.astype(np.float64) @ x + getattr(node, "bias", 0.0)
            elif kind == "Delay":
                y = shift(received[name], np.round(node.delay / dt).astype(int))
            elif kind == "Output":
                y = x
            else:
                if kind in ("IF", "I"):
                    v[name] = v[name] + dt * node.r * x
                elif kind in ("LIF", "LI"):
                    v[name] = v[name] + dt / node.tau * (node.v_leak - v[name] + node.r * x)
                else:
                    i[name] = i[name] + dt / node.tau_syn * (node.w_in * x - i[name])
                    v[name] = v[name] + dt / node.tau_mem * (node.v_leak - v[name] + node.r * i[name])
                y = v[name]
                if kind.endswith("F"):
                    y = v[name] > node.v_threshold
                    v[name] = np.where(y, node.v_reset, v[name])
                    y = y.astype(np.float64)
            assert len(sent[name]) == t
            sent[name].append(y)
    return {name: np.array(values) for name, values in sent.items()}
