"""Labels that look wrong: the ones that were swapped on purpose come first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LogisticRegression

from saccade.data.batches import Batches
from saccade.evaluation.suspects import confident_joint, features_of, find_suspects, out_of_fold
from saccade.models.catalogue import build_network
from saccade.models.network import NetworkSpec


def alone(num: int) -> list[str]:
    return [str(index) for index in range(num)]


def swap(labels: np.ndarray, num: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(labels), num, replace=False)
    swapped = labels.copy()
    swapped[chosen] = (labels[chosen] + rng.integers(1, num_classes, num)) % num_classes
    return swapped, chosen


def test_swapped_labels_of_digits_come_first():
    features, true = load_digits(return_X_y=True)
    labels, chosen = swap(true, 40, 10)
    probabilities = out_of_fold(features.astype(np.float32), labels, alone(len(labels)))
    first = [suspect.picture for suspect in find_suspects(probabilities, labels)[:40]]
    assert np.isin(first, chosen).mean() >= 0.85  # measured: 87.5 to 91 %, by version


def test_suspects_name_the_class_they_rather_show():
    features, true = make_blobs([60, 60, 60], centers=[[0, 0], [5, 0], [0, 5]], cluster_std=0.3, random_state=0)
    labels = true.copy()
    labels[:5] = (true[:5] + 1) % 3
    found = find_suspects(out_of_fold(features.astype(np.float32), labels, alone(180)), labels)
    # Of five wrong ones those are confident that lie nearer to the middle of their cluster than most.
    assert found
    assert {suspect.picture for suspect in found} <= {0, 1, 2, 3, 4}
    assert all(suspect.likely == true[suspect.picture] for suspect in found)
    assert all(suspect.label == labels[suspect.picture] for suspect in found)


def test_out_of_fold_probabilities_are_of_classifiers_that_never_saw_the_picture():
    # Random labels cannot be told from features except by having learned them by heart.
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 150)).astype(np.float32), rng.integers(0, 2, 200)
    by_heart = LogisticRegression(C=100).fit(features, labels).score(features, labels)
    ours = (out_of_fold(features, labels, alone(200)).argmax(axis=1) == labels).mean()
    assert by_heart == 1.0
    assert abs(ours - 0.5) < 0.15


def test_copies_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 80)).astype(np.float32)
    features, labels = np.repeat(one, 2, axis=0), np.repeat(rng.integers(0, 2, 60), 2)
    together = np.repeat(alone(60), 2).tolist()
    apart = (out_of_fold(features, labels, alone(120)).argmax(axis=1) == labels).mean()
    grouped = (out_of_fold(features, labels, together).argmax(axis=1) == labels).mean()
    assert grouped < apart


def test_confident_joint_is_that_of_the_paper():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
    # thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.8 + 0.45) / 3 = 0.65
    assert confident_joint(probabilities, labels).tolist() == [0, 0, 1, 1, 1, -1]
    assert [suspect.picture for suspect in find_suspects(probabilities, labels)] == [2]


def test_class_without_pictures_is_never_shown():
    labels = np.array([0, 0, 2, 2])
    probabilities = np.array([[0.6, 0.1, 0.3], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]])
    assert 1 not in confident_joint(probabilities, labels)


@pytest.mark.parametrize("model", ["lenet5", "resnet18_cifar"])
def test_features_are_what_the_head_sees_averaged(model):
    network = build_network(NetworkSpec(model, 3, 32, 3), 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    batches = Batches(images, np.zeros(5, dtype=np.int64), np.arange(5), 2, 32, torch.device("cpu"))
    found = features_of(network, batches.epoch(0))
    with torch.no_grad():
        expected = network.features(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert np.allclose(found, expected.flatten(2).mean(2).numpy(), atol=1e-5)
