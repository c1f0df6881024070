"""Weight space with an evaluator of one's own: what a variable changes in a satisfiability problem."""

import torch
from torch import nn

from polystep_snn import Softmax
from polystep_snn.spaces.weight.step import WeightStep
from tests.spaces.weight.modules import Point, full


class Clauses:
    """Evaluates all candidates of a satisfiability problem at once: flipping a variable changes its own clauses alone."""

    def __init__(self, module, variables, signs):
        self.module, self.variables, self.signs = module, variables, signs

    def slices(self, inputs, target):
        yield 1.0, inputs, target

    def batch(self, inputs, target):
        self.output, self.rates = None, []
        self.loss = unsatisfied(self.module.x, self.variables, self.signs)
        return self

    def costs(self, part, offsets):
        x = self.module.x.detach()
        true = (x > 0)[self.variables] == self.signs
        decisive = (true.sum(1, keepdim=True) - true.int() == 0).to(x.dtype)

        def share(signs):
            """Of each variable: clauses that it alone decides, with this sign."""
            return torch.zeros_like(x).scatter_add_(0, self.variables.view(-1), (decisive * (self.signs == signs)).view(-1))

        lost = torch.where(x + offsets[:, :, 0] > 0, share(False), share(True))
        return self.loss + lost - torch.where(x > 0, share(False), share(True))


def unsatisfied(x, variables, signs):
    return ((x > 0)[variables] != signs).all(1).sum().to(x.dtype)


def sat(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    variables = torch.rand(int(4.27 * n), n, generator=generator).topk(3, 1).indices
    module = Point(0.0)
    module.x = nn.Parameter(torch.rand(n, dtype=torch.float64, generator=generator) * 2 - 1)
    return module, variables, torch.randint(2, variables.shape, generator=generator).bool()


def test_an_evaluator_of_ones_own():
    """It costs candidates as the module does, and what follows is the same step."""
    results = []
    space = full(particle_dim=1, radius=1.0)
    module, variables, signs = sat(20)

    def loss(x, _):
        return unsatisfied(x, variables, signs)

    start = module.x.detach().clone()
    for own in (None, Clauses(module, variables, signs)):
        step = WeightStep(module, loss, space, Softmax(eps=0.5), evaluator=own)
        result = step.step(None)
        results.append((result.loss, module.x.grad))
    assert torch.equal(module.x, start)
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=1e-12)


def test_a_satisfiability_problem():
    """Random 3-SAT at ratio 4.27: 87.5 % of the clauses to begin with."""
    module, variables, signs = sat(1000)
    step = WeightStep(
        module, space=full(particle_dim=1, radius=1.0), transport=Softmax(eps=0.5), evaluator=Clauses(module, variables, signs)
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    best = torch.inf
    for _ in range(200):
        best = min(best, step.step(None).loss)
        optimizer.step()
        with torch.no_grad():
            module.x.clamp_(-1, 1)
    assert best / len(variables) < 0.025
