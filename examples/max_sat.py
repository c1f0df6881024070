"""Satisfy as many clauses of a random 3-SAT formula as possible: weight space on something that is no network.

    python examples/max_sat.py [VARIABLES]

The loss, a number of clauses, has no slope anywhere: a variable is true where its latent value is above 0. Yet what flipping one variable
changes is known from the clauses it stands in, so an evaluator of ten lines prices all candidates at once, exactly. 20,000 variables take
some seconds on one core. ``benchmarks/maxsat.py`` goes to a million, beside other methods.
"""

import argparse

import torch
from torch import nn

from polystep_snn import Schedule, Softmax, WeightSpace, WeightStep
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.subspaces import FullSpace


class Formula:
    """``variables [M, 3]`` of every clause, and whether each shall be true, ``wanted [M, 3]``. Evaluates candidates for ``WeightStep``.

    Raises:
        InputError: fewer than three variables: those of a clause differ.
    """

    def __init__(self, num_variables: int, ratio: float = 4.27, seed: int = 0):
        if num_variables < 3:
            raise InputError(f"num_variables is {num_variables}: choose at least 3")
        generator = torch.Generator().manual_seed(seed)
        shape = (round(ratio * num_variables), 3)
        self.variables = torch.randint(num_variables, shape, generator=generator)
        while len(twice := (self.variables.sort(1).values.diff(dim=1) == 0).any(1).nonzero()[:, 0]):
            self.variables[twice] = torch.randint(num_variables, (len(twice), 3), generator=generator)
        self.wanted = torch.rand(shape, generator=generator) < 0.5

    def batch(self, latent: torch.Tensor, target: None) -> "Assigned":
        return Assigned(self, latent)

    def slices(self, latent: torch.Tensor, target: None):
        yield 1.0, latent, target


class Assigned:
    """The formula at one assignment: ``loss`` counts unsatisfied clauses, ``costs`` does so for candidates that move one variable each."""

    def __init__(self, formula: Formula, latent: torch.Tensor):
        self.latent, self.output, self.rates = latent, latent > 0, []
        true = self.output[formula.variables] == formula.wanted
        number = true.sum(1, keepdim=True)
        self.loss = (number == 0).sum().to(latent.dtype)
        # A clause in which no other literal is true needs this one; one vote for the value that it wants.
        votes = torch.where(number == true, 2.0 * formula.wanted - 1.0, 0.0)
        for_true = torch.zeros_like(latent).index_add_(0, formula.variables.flatten(), votes.flatten())
        self.change = torch.where(self.output, for_true, -for_true)

    def costs(self, part, offsets: torch.Tensor) -> torch.Tensor:
        flipped = (self.latent + offsets[:, :, 0] > 0) != self.output
        return self.loss + torch.where(flipped, self.change, 0.0)


def solve(formula: Formula, num_variables: int, steps: int = 500, seed: int = 0) -> torch.Tensor:
    """The best assignment that was met, ``[num_variables]``; prints the way there."""
    module = nn.Module()
    latent = 0.1 * torch.randn(num_variables, generator=torch.Generator().manual_seed(seed))
    module.latent = nn.Parameter(latent, requires_grad=False)
    space = WeightSpace(radius=10.0, subspace=FullSpace(), particle_dim=1)  # far enough to see both values of every variable
    step = WeightStep(module, space=space, transport=Softmax(eps=Schedule(2.0, 0.3, "geometric")), evaluator=formula)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.85, weight_decay=1.0)
    rate = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.2 ** (1 / steps))
    best, fewest = module.latent > 0, len(formula.variables) + 1
    for k in range(steps):
        values = module.latent > 0
        unsatisfied = int(step.step(module.latent, progress=k / steps).loss)
        if unsatisfied < fewest:
            best, fewest = values, unsatisfied
        if k % max(1, steps // 10) == 0:
            print(f"step {k}: {unsatisfied} of {len(formula.variables)} clauses are not satisfied")
        optimizer.step()
        rate.step()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variables", type=int, nargs="?", default=20_000)
    arguments = parser.parse_args()
    try:
        formula = Formula(arguments.variables)
    except InputError as error:
        parser.error(str(error))
    best = solve(formula, arguments.variables)
    satisfied = (best[formula.variables] == formula.wanted).any(1).double().mean()
    print(f"{satisfied:.2%} of the clauses are satisfied; a random assignment satisfies 87.5%")


if __name__ == "__main__":
    main()
