"""Processes that share a batch: they average costs, and stop together."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import HybridLowRank
from tests.spaces.weight.modules import classes, classifier, grads, same


def together(*shares):
    """A step of processes that average, in threads: what each returns and leaves in ``.grad``, or the error it ends with."""
    modules, said = [classifier().double() for _ in shares], {}
    everyone = threading.Barrier(len(shares), timeout=60)

    def run(rank):
        def average(tensors):
            said[rank] = [t.clone() for t in tensors]
            everyone.wait()
            for k, tensor in enumerate(tensors):
                tensor.copy_(torch.stack([said[other][k] for other in range(len(shares))]).mean(0))

        try:
            step = WeightStep(modules[rank], nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2)), average=average)
            return step.step(*shares[rank]), grads(modules[rank])
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(shares)) as threads:
        return list(threads.map(run, range(len(shares))))


def test_processes_average_costs_before_the_transport():
    x, y = classes(40)
    x = x.double()
    ((whole, expected),) = together((x, y))
    (first, found), (second, others) = together((x[:20], y[:20]), (x[20:], y[20:]))
    assert first == second
    assert same(found, others)
    torch.testing.assert_close((first.loss, first.accuracy), (whole.loss, whole.accuracy))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    # The mean of what each displacement would be alone is another one.
    alone = [together((x[part], y[part]))[0][1][0] for part in (slice(20), slice(20, 40))]
    assert not torch.allclose(sum(alone) / 2, expected[0], atol=1e-3)


def test_processes_stop_together():
    x, y = classes(40)
    words = together((x[:20].double() * torch.nan, y[:20]), (x[20:].double(), y[20:]))
    assert words == ["the loss is nan: choose a smaller learning rate, or a loss that is finite"] * 2
