"""One counter of candidate evaluations, so that methods can be compared at equal cost."""

from polystep_snn.errors import InputError


class Budget:
    """How many candidates may be evaluated. One evaluation is one candidate on one batch, however it is computed.

    Args:
        limit: evaluations in all.

    Attributes:
        spent: evaluations so far.
    """

    def __init__(self, limit: int):
        if not isinstance(limit, int) or limit < 1:
            raise InputError(f"the budget is {limit}: give a whole number of evaluations, at least 1")
        self.limit = limit
        self.spent = 0

    @property
    def left(self) -> int:
        """Evaluations that are left."""
        return self.limit - self.spent

    @property
    def progress(self) -> float:
        """The share that is spent, for schedules."""
        return self.spent / self.limit

    def affords(self, count: int) -> bool:
        """Whether ``count`` evaluations are left.

        Raises:
            InputError: the whole budget is less: not even one step could be made.
        """
        if count > self.limit:
            raise InputError(f"a step takes {count} evaluations, but the budget is {self.limit}: give more, or take fewer candidates")
        return count <= self.left

    def spend(self, count: int) -> None:
        """Count evaluations.

        Raises:
            InputError: more than are left.
        """
        if not self.affords(count):
            raise InputError(f"a step takes {count} evaluations, but {self.left} of {self.limit} are left: ask affords() first")
        self.spent += count
