"""Costs of probes of a recurrent layer, window by window: lanes of samples of one neuron at a time.

Shapes: V vertices, M time windows, K probed neurons, B samples, padded to whole lanes.
"""

from polystep_snn.engine.loops.jit import product_loop
from polystep_snn.engine.loops.lanes import LANES, fill, load, store


@product_loop
def priced_by_later_windows(first, behind, window, vertices, fitted, costs, reached, worth, slopes):
    """Add what probes of neurons ``first`` to ``behind`` in a window do in later ones.

    Args:
        window: its number.
        vertices: those that shift it.
        fitted: ``[V]``, what makes a slope of costs.
        costs: ``[V, K, B]``, changed in place.
        reached: ``[M, V, K, B]``, what probes changed in each window.
        worth: ``[M, K, B]``, what a change is worth there.
        slopes: ``[K, B]``, written.
    """
    none = costs.dtype.type(0)
    for k in range(first, behind):
        for b in range(0, costs.shape[2], LANES):
            slope = fill(none)
            for v in vertices:
                cost = load(costs, (v, k, b))
                for m in range(window + 1, reached.shape[0]):
                    cost = cost + load(reached, (m, v, k, b)) * load(worth, (m, k, b))
                store(costs, (v, k, b), cost)
                slope = slope + fitted[v] * cost
            store(slopes, (k, b), slope)


@product_loop
def priced_by_own_window(first, behind, window, vertices, fitted, costs, reached, worth, ends, slopes):
    """Slopes with what probes in a window do in the same one; ``ends``: and their costs. The rest as of ``priced_by_later_windows``."""
    none = costs.dtype.type(0)
    for k in range(first, behind):
        for b in range(0, costs.shape[2], LANES):
            slope, own = fill(none), load(worth, (window, k, b))
            for v in vertices:
                cost = load(costs, (v, k, b)) + load(reached, (window, v, k, b)) * own
                if ends:
                    store(costs, (v, k, b), cost)
                slope = slope + fitted[v] * cost
            store(slopes, (k, b), slope)
