"""Every candidate starts where the unprobed pass started, so that costs differ by the candidate alone.

Three things outlive a forward pass: the position of generators of random numbers, buffers, and whatever else a module keeps in its
attributes (``module_state.py``). All are put back before every candidate. After a step random numbers and buffers stand where the
unprobed pass has left them, as with ``loss.backward()``; everything else is what it was before the step, so that a step on the same
batch finds the same costs. A buffer that changes its shape, such as a membrane that takes that of the batch, counts as everything else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.errors import InputError


class RandomNumbers:
    """Gives every candidate the random numbers that the unprobed pass had, so that costs differ by the candidate alone.

    Used as ``with numbers.first(): unprobed pass`` and then ``with numbers.again(): candidates``. Where the unprobed pass drew
    nothing, nothing is done. These are torch's own generators; ``repeats.py`` finds modules that draw from others.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._state: tuple[Tensor, Tensor | None] | None = None

    @property
    def drew(self) -> bool:
        """Whether the unprobed pass drew random numbers."""
        return self._state is not None

    def _get(self) -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

    def _set(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self._device)

    @contextmanager
    def first(self) -> Iterator[None]:
        before = self._get()
        try:
            yield
        finally:
            after = self._get()
            same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None)
            self._state = None if same else before

    @contextmanager
    def again(self) -> Iterator[None]:
        if self._state is None:
            yield
            return
        after = self._get()
        self._set(self._state)
        try:
            yield
        finally:
            self._set(after)

    def put_back(self) -> None:
        """Undo what the unprobed pass drew."""
        if self._state is not None:
            self._set(self._state)


class SameStart:
    """Random numbers and state of a module, as they are when this is made.

    Used as ``with start.first(): unprobed pass``, then ``with start.again(): candidates`` any number of times, then ``start.end()``.

    Args:
        module: whose passes.
        state: of the module, recorded now.

    Attributes:
        keeps: name of the first attribute that a pass was seen to change, or None. While it is None, ``again`` puts nothing back.
    """

    def __init__(self, module: nn.Module, state: ModuleState):
        self._name = type(module).__name__
        self._numbers = RandomNumbers(state.device)
        self._state = state
        self.keeps: str | None = None

    @contextmanager
    def first(self) -> Iterator[None]:
        """For the unprobed pass. Buffers and random numbers advance by it, everything else is put back.

        Raises:
            InputError: the pass draws from a generator that the module keeps.
        """
        try:
            with self._numbers.first():
                yield
            self._refuse_own_generators()
            self._state.accept_buffers()
        finally:
            self.keeps = self._state.put_back()

    @contextmanager
    def again(self) -> Iterator[None]:
        """For a candidate, or many at once."""
        if self.keeps is not None:
            self._state.put_back()
        try:
            with self._numbers.again():
                yield
        except Exception:
            # Where torch.vmap has failed, a module may hold tensors that are of no use outside of it.
            self._state.put_back()
            raise

    def changed(self) -> str | None:
        """The name of an attribute that is not what it was, or None; of tensors those of which torch has counted a change."""
        return self._state.changed()

    def end(self, thorough: bool = False) -> str | None:
        """Put back what candidates changed; the name of the first attribute that was changed, or None.

        Args:
            thorough: look into all tensors, also where no pass before has changed anything and torch has counted no change.

        Raises:
            InputError: a candidate drew from a generator that the module keeps.
        """
        try:
            self._refuse_own_generators()
        finally:
            changed = self._state.put_back(thorough or self.keeps is not None)
        return changed

    def _refuse_own_generators(self) -> None:
        drawn = self._state.drawn()
        if drawn is not None:
            raise InputError(
                f"{self._name} draws random numbers from {drawn}, a generator of its own, so that every candidate would have others: "
                "draw from torch's global generator, whose numbers all candidates share"
            )

    def undo(self) -> None:
        """Make everything what it was before the unprobed pass: buffers and random numbers too."""
        self._state.put_back_buffers()
        self._state.put_back()
        self._numbers.put_back()


@contextmanager
def untouched(module: nn.Module, loss: Any) -> Iterator[None]:
    """Passes within leave no trace: state, buffers and random numbers are put back."""
    start = SameStart(module, ModuleState(module, loss))
    try:
        with start.first():
            yield
    finally:
        start.undo()
