"""The methods that ``maxsat.py`` compares: PolyStep with candidates that are priced by the clauses, a greedy descent, probSAT."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from maxsat_formula import needs, random_formula
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.polystep.schedule import Schedule
from polystep_snn.polystep.transport import Softmax
from polystep_snn.spaces.weight.directions import Part
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import FullSpace

STEPS = 1000


class Assignment(nn.Module):
    """n variables, each true where its latent value is above 0."""

    def __init__(self, num_variables: int, seed: int):
        super().__init__()
        self.latent = nn.Parameter(0.1 * torch.randn(num_variables, generator=torch.Generator().manual_seed(seed)), requires_grad=False)

    def forward(self) -> Tensor:
        return self.latent > 0


class ClausesBatch:
    """All candidates of an assignment; see ``spaces/weight/candidates.py``. The loss is the number of unsatisfied clauses."""

    def __init__(self, module: Assignment, literals: np.ndarray):
        self._latent = module.latent
        self.output = module()
        self.rates: list[Tensor] = []
        needed, unsatisfied = needs(literals, self.output.numpy())
        self.loss = torch.tensor(float(unsatisfied))
        # By how much the loss changes where a variable changes its value.
        to_true = torch.from_numpy(needed[:, 0] - needed[:, 1]).to(self._latent.dtype)
        self._change = torch.where(self.output, -to_true, to_true)

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        values = self._latent + offsets[:, :, 0] > 0
        return self.loss + torch.where(values != self.output, self._change, 0.0)


class Clauses:
    """Evaluates candidates of an ``Assignment`` that move one variable each, exactly. Counts are exact up to 2^24 clauses (float32)."""

    def __init__(self, module: Assignment, literals: np.ndarray):
        self._module, self._literals = module, literals

    def batch(self, inputs: Any, target: Any) -> ClausesBatch:
        return ClausesBatch(self._module, self._literals)

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        yield 1.0, inputs, target


class Solution(NamedTuple):
    """The best assignment of a search, ``[n]`` bool, and how many clauses it leaves unsatisfied."""

    values: np.ndarray
    unsatisfied: int


def polystep(literals: np.ndarray, num_variables: int, seed: int, steps: int = STEPS) -> Solution:
    """PolyStep on latent values; the regularisation and the learning rate fall over the steps."""
    module = Assignment(num_variables, seed)
    # The radius is beyond every latent value, which weight decay holds near [-1, 1]: each probe sees both values of its variable.
    step = WeightStep(
        module,
        space=WeightSpace(radius=10.0, subspace=FullSpace(), particle_dim=1),
        transport=Softmax(eps=Schedule(2.0, 0.3, "geometric")),
        seed=seed,
        evaluator=Clauses(module, literals),
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.85, weight_decay=1.0)
    rate = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.2 ** (1 / steps))
    best = Solution(np.zeros(num_variables, bool), literals.shape[1] + 1)
    for k in range(steps):
        values = module().numpy()
        unsatisfied = int(step.step(None, progress=k / steps).loss)
        if unsatisfied < best.unsatisfied:
            best = Solution(values, unsatisfied)
        if not unsatisfied:
            break
        optimizer.step()
        rate.step()
    return best


def generator_of(seed: int) -> np.random.Generator:
    """Random numbers of a search: others than those of the formula with this seed."""
    return np.random.default_rng([seed, 1])


def greedy(literals: np.ndarray, num_variables: int, seed: int) -> Solution:
    """Descent from a random assignment: of the variables whose flip alone would help, a random fifth is flipped at a time."""
    generator = generator_of(seed)
    values = generator.random(num_variables) < 0.5
    best = Solution(values, literals.shape[1] + 1)
    while True:
        needed, unsatisfied = needs(literals, values)
        if unsatisfied < best.unsatisfied:
            best = Solution(values.copy(), unsatisfied)
        helps = np.flatnonzero(np.where(values, needed[:, 1] < needed[:, 0], needed[:, 0] < needed[:, 1]))
        if not len(helps):
            return best
        chosen = helps[generator.random(len(helps)) < 0.2] if len(helps) > 20 else generator.choice(helps, 1)
        values[chosen] ^= True


def compiled_probsat() -> Callable:
    """probSAT with its polynomial break-only rule for 3-SAT (cb = 2.06, eps = 0.9), compiled.

    Raises:
        InputError: ``numba`` is not installed.
    """
    try:
        from numba import njit
    except ImportError:
        raise InputError("probSAT needs numba, which is not installed: pip install numba") from None

    @njit
    def start(literals, values, true, where, unsatisfied):
        count = 0
        for c in range(literals.shape[1]):
            for k in range(3):
                true[c] += values[literals[k, c] >> 1] == (literals[k, c] & 1)
            if not true[c]:
                where[c], unsatisfied[count] = count, c
                count += 1
        return count

    @njit
    def search(literals, first, members, values, true, where, unsatisfied, count, flips, weight):
        best = count
        for _ in range(flips):
            if not count:
                break
            clause, total = unsatisfied[np.random.randint(count)], 0.0  # noqa: NPY002 (numba's own generator)
            shares = np.zeros(3)
            for k in range(3):
                literal, broken = literals[k, clause] ^ 1, 0
                for p in range(first[literal], first[literal + 1]):
                    broken += true[members[p]] == 1
                shares[k] = weight[broken]
                total += shares[k]
            point, chosen = np.random.random() * total, 0  # noqa: NPY002
            while chosen < 2 and point >= shares[chosen]:
                point -= shares[chosen]
                chosen += 1
            made = literals[chosen, clause]
            values[made >> 1] = made & 1
            for p in range(first[made], first[made + 1]):
                c = members[p]
                true[c] += 1
                if true[c] == 1:
                    count -= 1
                    last = unsatisfied[count]
                    unsatisfied[where[c]], where[last] = last, where[c]
            for p in range(first[made ^ 1], first[(made ^ 1) + 1]):
                c = members[p]
                true[c] -= 1
                if not true[c]:
                    where[c], unsatisfied[count] = count, c
                    count += 1
            best = min(best, count)
        return count, best

    @njit
    def seedgenerator_of(seed):
        np.random.seed(seed)  # noqa: NPY002

    def probsat(literals: np.ndarray, num_variables: int, seed: int, seconds: float) -> tuple[int, int]:
        started = time.process_time()
        num_clauses = literals.shape[1]
        # The clauses of literal l are members[first[l] : first[l + 1]].
        members = (np.argsort(literals.ravel(), kind="stable") % num_clauses).astype(np.int32)
        first = np.concatenate([[0], np.cumsum(np.bincount(literals.ravel(), minlength=2 * num_variables))])
        values = generator_of(seed).integers(2, size=num_variables, dtype=np.int8)
        true, where = np.zeros(num_clauses, np.int8), np.zeros(num_clauses, np.int32)
        unsatisfied = np.zeros(num_clauses, np.int32)
        weight = (0.9 + np.arange(np.diff(first).max() + 1)) ** -2.06
        seedgenerator_of(seed)
        count = best = start(literals, values, true, where, unsatisfied)
        flips, portion = 0, 20_000
        while not flips or (count and time.process_time() - started < seconds):
            count, lowest = search(literals, first, members, values, true, where, unsatisfied, count, portion, weight)
            best, flips = min(best, lowest), flips + portion
        if needs(literals, values.astype(bool))[1] != count:
            raise RuntimeError("probSAT's own count of unsatisfied clauses is wrong")
        return best, flips

    probsat(random_formula(10, 0), 10, 0, 0.0)  # compiles
    return probsat
