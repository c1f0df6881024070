"""Random 3-SAT formulas, and what each literal is needed for: the problem of ``maxsat.py``."""

import numpy as np

from polystep_snn.errors import InputError

RATIO = 4.27


def check_size(num_variables: int) -> None:
    """Raises InputError: fewer than three variables, or more literals than int32 holds."""
    if not 3 <= num_variables < 2**30:
        raise InputError(f"num_variables is {num_variables}: choose at least 3 and less than 2^30")


def random_formula(num_variables: int, seed: int, ratio: float = RATIO) -> np.ndarray:
    """A uniform random 3-SAT formula: literals ``[3, M]``, int32; literal ``2 i + 1`` says that variable i is true, ``2 i`` that it is not.

    The three variables of a clause differ. Clauses are sorted by their first literal, which helps the caches and changes nothing else.

    Raises:
        InputError: fewer than three variables, or more literals than int32 holds.
    """
    check_size(num_variables)
    generator = np.random.default_rng(seed)
    num_clauses = round(ratio * num_variables)
    variables = generator.integers(num_variables, size=(num_clauses, 3), dtype=np.int32)
    repeated = np.arange(num_clauses)
    while len(repeated):
        a, b, c = variables[repeated].T
        repeated = repeated[(a == b) | (b == c) | (a == c)]
        variables[repeated] = generator.integers(num_variables, size=(len(repeated), 3), dtype=np.int32)
    literals = np.sort(2 * variables + generator.integers(2, size=variables.shape, dtype=np.int32), axis=1)
    return np.ascontiguousarray(literals[np.argsort(literals[:, 0], kind="stable")].T)


def needs(literals: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, int]:
    """How many clauses need each literal, ``[n, 2]`` (false, true), since no other literal of theirs is true; and how many are unsatisfied.

    Setting variable i from false to true changes the number of unsatisfied clauses by ``needs[i, 0] - needs[i, 1]``, whatever i is now.
    """
    truth = np.stack([~values, values], axis=1).view(np.int8).ravel()
    found = [truth.take(row) for row in literals]
    true = found[0] + found[1] + found[2]
    needed = np.concatenate([row[true == own] for row, own in zip(literals, found, strict=True)])
    return np.bincount(needed, minlength=2 * len(values)).reshape(-1, 2), len(true) - int(np.count_nonzero(true))
