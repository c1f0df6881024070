"""Which of its consumer's inputs each output of a layer reaches: found by shifting one output a sample, another one in every sample."""

import torch
from torch import Tensor

from polystep_snn.spaces.layer.groups import Unprobed
from polystep_snn.spaces.layer.pairs import Pairs
from polystep_snn.spaces.layer.passes import Passes
from polystep_snn.spaces.layer.watch import Watch

# Pairs of an output and an input that are remembered.
_MOST_PAIRS = 2**22
# Shifts are as large as this many spreads of the layer, one or the other, so that jumps are seen.
_SIZES = (0.5, 1.0, 2.0, 4.0)
# There is a pass in every step until every output was shifted this often, or so often if that moved nothing; then one in so many steps.
_FIRST, _FIRST_IDLE, _EVERY = 2, 16, 30


class Reach:
    """For one layer of n outputs and a consumer of k inputs.

    Attributes:
        hits, tests: ``[n, k]``, how often an input moved, and ``[n]``, of how many times.
    """

    def __init__(self, hits: Tensor, tests: Tensor):
        self.hits, self.tests = hits, tests
        self._renew()

    @classmethod
    def unseen(cls, num_outputs: int, num_inputs: int, like: Tensor) -> "Reach | None":
        """Of outputs that were not shifted yet; None where there are too many pairs to remember."""
        if num_outputs * num_inputs > _MOST_PAIRS:
            return None
        return cls(like.new_zeros(num_outputs, num_inputs), like.new_zeros(num_outputs))

    def wants(self, step: int) -> bool:
        """Whether another pass is due."""
        return self._first or step % _EVERY == 0

    def shifts(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For every sample, ``[B]``: which output is shifted, those first that were shifted least, and by how many spreads."""
        chosen = self.tests.argsort(stable=True)[torch.arange(size) % len(self.tests)]
        sizes = torch.tensor(_SIZES)[torch.randint(len(_SIZES), (size,), generator=generator)]
        return chosen, sizes * (torch.randint(0, 2, (size,), generator=generator) * 2 - 1)

    def learn(self, chosen: Tensor, moved: Tensor) -> None:
        """Of inputs ``[B, k]`` whether they moved when the outputs ``[B]`` were shifted."""
        self.hits.index_add_(0, chosen, moved.to(self.hits))
        self.tests.index_add_(0, chosen, torch.ones_like(chosen).to(self.tests))
        self._renew()

    def _renew(self) -> None:
        unknown = (self.tests < _FIRST_IDLE) & ~self.hits.any(1)
        self._first = bool((unknown | (self.tests < _FIRST)).any())
        self.pairs = Pairs((self.hits > 0) | unknown[:, None], self.hits)
        """Where an output may move an input: it did, or it was seldom shifted and has moved none so far."""


def see(unprobed: Unprobed, passes: Passes, watch: Watch, reaches: dict[str, Reach | None], generator: torch.Generator) -> None:
    """One pass for all groups: consumers' inputs are held, so that none sees what another one's shifts do."""
    shifts, chosen = unprobed.no_shifts(), {}
    for place, group in enumerate(unprobed.groups):
        reach = reaches[group.name]
        if reach is not None:
            which, sizes = reach.shifts(unprobed.size, generator)
            shift = torch.zeros_like(group.outputs)
            shift[torch.arange(unprobed.size), which] = sizes.to(shift) * group.spread
            unprobed.put_shift(shifts, group, shift)
            chosen[place] = (reach, which)
    held = unprobed.inputs([k for group in unprobed.groups for k in group.consumer])
    output = passes.again(shifts, held=held)
    for place, (reach, which) in chosen.items():
        group = unprobed.groups[place]
        before = unprobed.at_consumer(group, lambda k: unprobed.calls[k].given, unprobed.output)
        after = unprobed.at_consumer(group, lambda k: watch.calls[k].given, output)
        reach.learn(which, (after != before).any(0))
