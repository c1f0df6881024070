"""Loops over time, compiled by numba for the CPU. They take plain arrays; what torch computes eagerly is their reference."""

from polystep_snn.engine.loops.conclusion import conclude_neurons, conclude_readout
from polystep_snn.engine.loops.costs import (
    chained_costs,
    entropy,
    entropy_of_changes,
    entropy_of_outputs,
    entropy_of_rows,
    entropy_of_shifts,
    rates_of,
    softmax_barycenters,
)
from polystep_snn.engine.loops.hops import hop_block
from polystep_snn.engine.loops.lanes import padded
from polystep_snn.engine.loops.populations import drive_step, layer_block
from polystep_snn.engine.loops.recurrent import priced_by_later_windows, priced_by_own_window
from polystep_snn.engine.loops.rows import rows_block, values_of_sums
from polystep_snn.engine.loops.sparse import event_entries, outer_products, row_entries, rows_times, turned

__all__ = [
    "chained_costs",
    "conclude_neurons",
    "conclude_readout",
    "drive_step",
    "entropy",
    "entropy_of_changes",
    "entropy_of_outputs",
    "entropy_of_rows",
    "entropy_of_shifts",
    "event_entries",
    "hop_block",
    "layer_block",
    "outer_products",
    "padded",
    "priced_by_later_windows",
    "priced_by_own_window",
    "rates_of",
    "row_entries",
    "rows_block",
    "rows_times",
    "softmax_barycenters",
    "turned",
    "values_of_sums",
]
