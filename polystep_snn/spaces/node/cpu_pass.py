"""A pass over time on the CPU, by compiled loops: the numbers of ``one_pass.advance`` and ``followed``, with states changed in place."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import layer_block
from polystep_snn.engine.loops.neurons import Cuba, Lif, cuba_of
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.pass_state import Block, Plan, State
from polystep_snn.spaces.node.populations import Neuron, Population


def advance(
    plan: Plan, state: State, frames: Tensor | None, known: Tensor | None, windows: list[Tensor], shares: list[Tensor], num_steps: int
) -> tuple[State, Block]:
    ...
