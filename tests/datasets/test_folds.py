"""Folds and splits hold every sample once, and of every class its share."""

import numpy as np
import pytest

from polystep_snn.datasets.folds import stratified_folds, stratified_split
from polystep_snn.errors import InputError


def test_folds_hold_every_sample_once_and_every_class_evenly():
    labels = np.random.default_rng(0).integers(0, 10, 1100)
    folds = stratified_folds(labels, 5, seed=1)
    assert [len(fold) for fold in folds] == [220] * 5
    assert np.concatenate(folds).tolist() != list(range(1100))
    assert sorted(np.concatenate(folds).tolist()) == list(range(1100))
    counts = np.array([np.bincount(labels[fold], minlength=10) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 1
    for fold, again, other in zip(folds, stratified_folds(labels, 5, seed=1), stratified_folds(labels, 5, seed=2), strict=True):
        assert fold.tolist() == again.tolist() != other.tolist()


def test_a_split_takes_its_share_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    large, small = stratified_split(labels, 0.1, seed=0)
    assert np.bincount(labels[small]).tolist() == [10, 5, 1]
    assert sorted([*large, *small]) == list(range(153))


def test_folds_and_splits_that_cannot_be():
    labels = np.array([0, 0, 0, 1, 1])
    with pytest.raises(InputError, match="class 1 has 2 samples for 3 folds"):
        stratified_folds(labels, 3, 0)
    with pytest.raises(InputError, match="k is 1"):
        stratified_folds(labels, 1, 0)
    with pytest.raises(InputError, match="class 1 has 1 samples, too few"):
        stratified_split(labels[:4], 0.5, 0)
    with pytest.raises(InputError, match="share is 1"):
        stratified_split(labels, 1, 0)
