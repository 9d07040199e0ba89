"""Dividing official training samples: the last fifth of what is mixed, a share of every class of what is not."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.learn.data.division import divide_training


@pytest.mark.parametrize(("count", "classes"), [(60_000, 10), (50_000, 10), (50_000, 100), (1_000, 1_000)])
def test_a_mixed_set_gives_its_last_fifth(count, classes):
    labels = np.random.default_rng(0).permutation(np.arange(count) % classes)
    heads, choice = divide_training(labels)
    assert heads.tolist() == list(range(count - count // 5))
    assert choice.tolist() == list(range(count - count // 5, count))


def test_counts_that_chance_could_give_are_mixed():
    """Fashion-MNIST's own counts in its last 12,000."""
    held = [1236, 1206, 1232, 1204, 1215, 1194, 1149, 1180, 1180, 1204]
    first = np.concatenate([np.full(6000 - count, label) for label, count in enumerate(held)])
    last = np.concatenate([np.full(count, label) for label, count in enumerate(held)])
    assert divide_training(np.concatenate([first, last]))[1][0] == 48_000


@pytest.mark.parametrize("shape", ["sorted", "backwards", "last fifth of one class"])
def test_any_other_set_gives_one_in_five_of_every_class(shape):
    labels = np.repeat(np.arange(10), 60)
    if shape == "backwards":
        labels = labels[::-1]
    elif shape != "sorted":
        labels = np.concatenate([np.random.default_rng(0).permutation(labels[:480]), np.repeat([8, 9], 60)])
    heads, choice = divide_training(labels)
    assert np.bincount(labels[choice]).tolist() == [12] * 10
    assert sorted([*heads, *choice]) == list(range(600))
    assert choice.tolist() == sorted(choice)
    again = divide_training(labels)
    assert choice.tolist() == again[1].tolist()


def test_classes_of_few_samples_count_together():
    """Sorted classes of 3 samples each: 30 of 150 go to choice, at most one or so of a class."""
    labels = np.repeat(np.arange(50), 3)
    _, choice = divide_training(labels)
    assert len(choice) == 30
    assert np.bincount(labels[choice]).max() == 1


def test_a_small_sorted_set_is_noticed():
    labels = np.repeat([0, 1], 5)
    assert sorted(labels[divide_training(labels)[1]]) == [0, 1]


def test_targets_are_divided_by_their_size():
    targets = np.random.default_rng(0).normal(size=1_000)
    assert divide_training(targets, regression=True)[1].tolist() == list(range(800, 1_000))
    _, choice = divide_training(np.sort(targets), regression=True)
    assert np.bincount(choice // 100, minlength=10).tolist() == [20] * 10
