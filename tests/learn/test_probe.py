"""Closed-form probes against scikit-learn's, sums in blocks, and a whole backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from small_data import small_backbone, small_digits

from exitsearch.errors import InputError
from exitsearch.learn.probe import SHRINKAGE, Moments, pooled_features, probe_placements
from exitsearch.models.backbone import create_backbone

SAMPLES, FEATURES, CLASSES = 90, 6, 4


@pytest.fixture
def cloud():
    """Features of classes that lie apart, on axes of unequal width and far from 0; and what they are."""
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, size=SAMPLES, p=[0.4, 0.3, 0.2, 0.1])
    centres = rng.normal(size=(CLASSES, FEATURES)) * 1.5
    x = (centres[labels] + rng.normal(size=(SAMPLES, FEATURES))) * np.array([1, 2, 0.1, 5, 1, 30]) + 100
    return x.astype(np.float32), labels


def _summed(x, labels, *, task="classification", outputs=CLASSES, blocks=(7, 40, 43)):
    moments, start = Moments(task=task, num_outputs=outputs), 0
    for count in blocks:
        part = slice(start, start + count)
        moments.add(torch.from_numpy(x[part]), torch.from_numpy(np.asarray(labels[part])))
        start += count
    assert moments.count == len(x)
    return moments


@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.5])
def test_lda_is_that_of_scikit_learn(cloud, shrinkage):
    x, labels = cloud
    mine = _summed(x, labels).fit("lda", shrinkage=shrinkage)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(x.astype(np.float64), labels)
    scores = mine(torch.from_numpy(x).double()).numpy()
    # Both up to a number that is the same for every class of a sample.
    expected = theirs.decision_function(x.astype(np.float64))
    differences = scores - expected
    assert differences - differences.mean(axis=1, keepdims=True) == pytest.approx(0, abs=1e-6)
    assert (scores.argmax(axis=1) == theirs.predict(x.astype(np.float64))).all()


def _alpha(x, shrinkage):
    """The penalty of scikit-learn's ridge for a share of the mean variance: its sum of squares has no 1 / samples."""
    return shrinkage * len(x) * x.astype(np.float64).var(axis=0).mean()


@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.5])
def test_ridge_is_that_of_scikit_learn(cloud, shrinkage):
    x, labels = cloud
    targets = np.stack([labels * 2.0 + x[:, 1], x[:, 3] - 7], axis=1).astype(np.float32)
    mine = _summed(x, targets, task="regression", outputs=2).fit("ridge", shrinkage=shrinkage)
    theirs = Ridge(alpha=_alpha(x, shrinkage)).fit(x.astype(np.float64), targets.astype(np.float64))
    found = mine(torch.from_numpy(x).double()).numpy()
    assert found == pytest.approx(theirs.predict(x.astype(np.float64)), rel=1e-6, abs=1e-6)


def test_ridge_of_classes_is_that_of_one_hot_targets(cloud):
    x, labels = cloud
    mine = _summed(x, labels).fit("ridge", shrinkage=0.01)
    theirs = Ridge(alpha=_alpha(x, 0.01)).fit(x.astype(np.float64), np.eye(CLASSES)[labels])
    found = mine(torch.from_numpy(x).double()).numpy()
    assert found == pytest.approx(theirs.predict(x.astype(np.float64)), rel=1e-6, abs=1e-6)


def test_one_target_a_sample_need_not_be_a_column(cloud):
    x, labels = cloud
    flat = _summed(x, labels.astype(np.float32), task="regression", outputs=1).fit("ridge")
    column = _summed(x, labels.astype(np.float32)[:, None], task="regression", outputs=1).fit("ridge")
    assert torch.equal(flat.weights, column.weights)


def test_a_class_without_samples_is_never_answered(cloud):
    x, labels = cloud
    mine = _summed(x, labels % 2, outputs=5).fit("lda")
    assert set(mine(torch.from_numpy(x).double()).argmax(1).tolist()) == {0, 1}


@pytest.mark.parametrize("method", ["lda", "ridge"])
def test_features_that_say_nothing_or_the_same_do_no_harm(cloud, method):
    x, labels = cloud
    doubled = np.concatenate([x, x[:, :1], np.zeros((SAMPLES, 1), np.float32)], axis=1)
    right = {}
    for name, given in (("plain", x), ("doubled", doubled)):
        mine = _summed(given, labels).fit(method, shrinkage=0.0)
        right[name] = (mine(torch.from_numpy(given).double()).argmax(1).numpy() == labels).mean()
    assert right["doubled"] == pytest.approx(right["plain"], abs=0.02)
    nothing = np.zeros((SAMPLES, 3), np.float32)
    assert torch.isfinite(_summed(nothing, labels).fit(method).weights).all()


@pytest.mark.parametrize(
    ("method", "shrinkage", "words"),
    [("lda", 0.1, "a probe by LDA needs classes"), ("ridge", 1.0, "from 0 below 1, found 1"), ("ridge", -0.1, "-0.1")],
)
def test_what_cannot_be_fitted_is_said(cloud, method, shrinkage, words):
    x, labels = cloud
    with pytest.raises(InputError, match=words):
        _summed(x, labels.astype(np.float32), task="regression", outputs=1).fit(method, shrinkage=shrinkage)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_vit2"])
def test_features_are_pooled(name):
    """Tokens: the mean over the patches, then the class token where there is one; maps: their mean."""
    backbone = create_backbone(name, pretrained=False)
    with torch.no_grad():
        states = list(backbone.stream(backbone.example_input(2)))[:-1]
    for placement, x in zip(backbone.placements, states, strict=True):
        pooled = pooled_features(x, placement)
        assert pooled.shape == (2, placement.channels * (1 + placement.class_token))
        if placement.layout == "tokens":
            patches = x[:, placement.prefix_tokens :]
            torch.testing.assert_close(pooled[:, : placement.channels], patches.mean(1))
            if placement.class_token:
                torch.testing.assert_close(pooled[:, placement.channels :], x[:, 0])
        elif placement.layout == "nchw":
            torch.testing.assert_close(pooled, x.mean((2, 3)))


def test_probes_of_a_backbone_are_those_of_scikit_learn():
    """The whole way, through the embedded default: each placement's LDA fitted on `heads`, scored on `choice`."""
    backbone = create_backbone()
    data = small_digits(backbone, count=200)
    shares = []
    found = probe_placements(
        backbone, data, placements=[6, 0], batch_size=64, progress=lambda share, words: shares.append(share)
    )
    assert [(probe.placement, probe.module) for probe in found] == [(0, "blocks.0"), (6, "blocks.6"), (None, "")]
    assert shares[-1] == 1.0
    pooled: dict[str, dict[int, np.ndarray]] = {}
    with torch.no_grad():
        for name in ("heads", "choice"):
            images = data.split(name).batch(list(range(200)))[0]
            states = list(backbone.stream(images))
            pooled[name] = {k: pooled_features(states[k], backbone.placements[k]).double().numpy() for k in (0, 6)}
    labels = {name: data.split(name).labels.numpy() for name in pooled}
    for probe in found[:2]:
        theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        theirs.fit(pooled["heads"][probe.placement], labels["heads"])
        right = (theirs.predict(pooled["choice"][probe.placement]) == labels["choice"]).mean()
        assert probe.score == pytest.approx(right, abs=0.006)  # one sample of 200 for rounding
    assert found[0].score < found[1].score
    assert found[2].score == pytest.approx((states[-1].argmax(1).numpy() == labels["choice"]).mean())


def test_probes_of_a_regression():
    backbone = small_backbone(task="regression")
    data = small_digits(backbone, count=60)
    found = probe_placements(backbone, data)
    assert [probe.placement for probe in found] == list(range(12)), "a new final classifier is not scored"
    median = data.choice.labels.sub(data.heads.labels.median()).abs().mean()
    assert found[0].score < float(median)


def test_placements_that_do_not_exist_are_refused():
    backbone = small_backbone()
    with pytest.raises(InputError, match="placements of vit_digits_patch1_8 run from 0 to 11, found 12"):
        probe_placements(backbone, small_digits(backbone), placements=[12])
