r"""Classes for a stream of which a few samples have labels: votes of the network and of the nearest others, assigned by optimal transport.

A network that has learned from the few labels says of every sample how likely each class is, a softmax of its readout. Where it errs, the
samples that its hidden neurons answer most alike are still mostly of one class. So votes walk: of the nearest others, by the cosine of
spike counts, a sample takes over the mean, and keeps a share of its own::

    F <- stay P + (1 - stay) mean of F over the neighbours         P: the network's votes, or the label where there is one

Label spreading (Zhou et al. 2003, Learning with Local and Global Consistency) has the same step. The walk helps where a network errs often
and harms where it errs seldom. The labelled samples tell: it is taken where it gets more of them right than the network did before it saw
their labels, by so many standard errors of the difference.

What comes out is a cost, ``-log F``. Samples are transported to classes at an entropic regularisation of 1: each has a mass of 1, and
classes receive about the shares that the labels have, which is relaxed to a Kullback-Leibler divergence with a price (Chizat et al. 2018,
Scaling algorithms for unbalanced optimal transport problems). Only spike counts and readouts of the stream are needed, no intensities.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.cost_tables import NAT, Costs
from polystep_snn.hardware.fixed_point import ALIGNMENT
from polystep_snn.hardware.integer_network import IntegerNetwork, check_whole
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.simulator import Simulator

_STEPS, _ITERATIONS = 30, 100
# Below this a vote is chance, and has no logarithm.
_LEAST = 1e-9
_CHUNK = 500


@dataclass(frozen=True)
class SelfLabelling:
    """How a stream labels itself.

    Attributes:
        neighbours: of a sample, that vote on it.
        stay: a sample's own share of its votes.
        errors: standard errors by which neighbours have to be better on labelled samples to be asked.
        relaxed: nats that a nat of divergence from the labels' shares of classes costs; ``inf`` holds these exactly.
        even: labels of every class that are added to those shares: few labels tell them badly.
    """

    neighbours: int = 5
    stay: float = 0.1
    errors: float = 1.0
    relaxed: float = 1.0
    even: float = 10.0

    def __post_init__(self):
        check_whole("neighbours", self.neighbours, 1, 1000)
        for name, low, high in (("stay", 0.0, 1.0), ("errors", -1e6, 1e6), ("relaxed", 0.0, np.inf), ("even", 0.0, 1e9)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}: choose from {low:g} to {high:g}")


class Answers(NamedTuple):
    """What a network shows of S samples: its softmax ``votes`` ``[S, C]`` float64; spike ``counts`` ``[S, N]`` int32 before the readout."""

    votes: np.ndarray
    counts: np.ndarray


class SelfLabels(NamedTuple):
    """Classes ``labels`` ``[S]`` int64, given ones included; ``walked``, whether neighbours voted; how many of the labelled samples the
    network (``right``) and its neighbours (``right_walked``) had right without their labels."""

    labels: np.ndarray
    walked: bool
    right: int
    right_walked: int


def answers(network: IntegerNetwork, rule: LearningRule, spikes, num_samples: int) -> Answers:
    """Of a stream, in the simulator; every backend computes the same.

    Args:
        network: with a readout of integrators.
        rule: tells what its readout is worth.
        spikes: gives those of samples by number, ``[T, B, M]``.
        num_samples: of the stream.
    """
    readout, simulator = network.layers[-1], Simulator(network)
    costs = Costs(rule.nats * readout.scale / network.num_steps, readout.num_neurons)
    votes, counts = [], []
    for start in range(0, num_samples, _CHUNK):
        seen = simulator.record(spikes(np.arange(start, min(start + _CHUNK, num_samples))))
        logits = costs.logits((seen.values >> ALIGNMENT).T).T / NAT
        shares = np.exp(logits - logits.max(1, keepdims=True))
        votes.append(shares / shares.sum(1, keepdims=True))
        counts.append(seen.layers[-2].z.sum(0, dtype=np.int32))
    return Answers(np.concatenate(votes), np.concatenate(counts))


def self_labels(before: Answers, after: Answers, known: np.ndarray, how: SelfLabelling) -> SelfLabels:
    """Classes for a whole stream.

    Args:
        before: of the network that has not seen a label of this stream.
        after: of the one that has learned from them.
        known: ``[L]`` labels of its first samples, at least one.
        how: it is done.
    """
    num_classes, first = after.votes.shape[1], slice(len(known))
    guessed = before.votes[first].argmax(1) == known
    told = walk(before.votes, neighbours(before.counts, how.neighbours), how.stay)[first].argmax(1) == known
    won, lost = int((told & ~guessed).sum()), int((guessed & ~told).sum())
    walked = won - lost > how.errors * np.sqrt(won + lost)
    votes = after.votes.copy()
    votes[first] = np.eye(num_classes)[known]
    if walked:
        votes = walk(votes, neighbours(after.counts, how.neighbours), how.stay)
    share = how.even + np.bincount(known, minlength=num_classes)
    labels = assignment(votes, share / share.sum(), how.relaxed).argmax(1)
    labels[first] = known
    return SelfLabels(labels, bool(walked), int(guessed.sum()), int(told.sum()))


def neighbours(counts: np.ndarray, most: int) -> np.ndarray:
    """Of each of S samples, at least 2, the numbers ``[S, K]`` of others whose spike counts have the largest cosine with its own.

    Args:
        counts: ``[S, N]``; their means are subtracted.
        most: K, where there are so many others.
    """
    x = counts.astype(np.float32)
    x -= x.mean(0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(_LEAST))
    num = min(most, len(x) - 1)
    found = np.empty((len(x), num), np.int64)
    for start in range(0, len(x), _CHUNK):
        cosines = x[start : start + _CHUNK] @ x.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        found[start : start + _CHUNK] = np.argpartition(-cosines, num - 1, axis=1)[:, :num]
    return found


def walk(votes: np.ndarray, nearest: np.ndarray, stay: float) -> np.ndarray:
    """Votes ``[S, C]`` after they have walked; ``nearest`` as from ``neighbours``, ``stay`` the share that keeps them at home."""
    walked = votes
    for _ in range(_STEPS):
        walked = stay * votes + (1 - stay) * walked[nearest].mean(1)
    return walked


def assignment(votes: np.ndarray, shares: np.ndarray, relaxed: float) -> np.ndarray:
    """The transport plan ``[S, C]`` between samples and classes at a cost of ``-log votes`` and a regularisation of 1; its rows sum to 1.

    Args:
        votes: ``[S, C]``.
        shares: ``[C]`` of the classes, which sum to 1.
        relaxed: what a nat of divergence from them costs; ``inf`` holds them exactly.
    """
    kernel, mass = np.maximum(votes, _LEAST), shares * len(votes)
    power = 1.0 if np.isinf(relaxed) else relaxed / (relaxed + 1)
    v = np.ones(kernel.shape[1])
    for _ in range(_ITERATIONS):
        v = (mass / ((1 / (kernel @ v)) @ kernel)) ** power
    plan = kernel * v
    return plan / plan.sum(1, keepdims=True)
