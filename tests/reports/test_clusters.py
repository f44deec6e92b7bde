"""Clusters of maps, and the strangest of them."""

from __future__ import annotations

import numpy as np
import pytest
from reports.generated import blobs

from onnxplain.errors import OptionError
from onnxplain.reports import clusters
from onnxplain.reports.analysis import best_cluster
from onnxplain.reports.clusters import (
    Clustering,
    cluster,
    cluster_count,
    features,
    laplacian_eigenvalues,
    project,
)
from onnxplain.reports.strange import strangest

PLACES = (3.0, 3.0), (3.0, 12.0), (12.0, 7.0)


def test_distances_of_features_are_hellingers() -> None:
    one, other = np.zeros((2, 16, 16), np.float32)
    one[0, 0], other[5, 5] = 1, 1
    half = (one + other) / 2
    vectors = features(np.stack([one, other, half]))
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(1)
    assert np.linalg.norm(vectors[0] - vectors[2]) == pytest.approx(np.sqrt(1 - np.sqrt(0.5)))


def test_maps_at_three_places_are_three_clusters() -> None:
    maps = np.concatenate([blobs(20 + 2 * i, i, at=at) for i, at in enumerate(PLACES)])
    found = cluster(features(maps), np.arange(len(maps)), "a")
    assert [set(own.tolist()) for own in found.members] == [
        set(range(42, 66)),
        set(range(20, 42)),
        set(range(20)),
    ]
    np.testing.assert_allclose(found.eigenvalues[:3], 0, atol=1e-9)
    assert found.gaps[2] > 0.1


def test_maps_at_one_place_are_one_cluster() -> None:
    maps = blobs(20, 0, at=(8, 8))
    assert len(cluster(features(maps), np.arange(20), None).members) == 1


def test_nothing_is_divided_where_no_eigenvalue_is_small() -> None:
    assert cluster_count(np.array([0, 0.2, 0.25, 0.9])) == 1
    assert cluster_count(np.array([0, 0.01, 0.25, 0.9])) == 2
    assert cluster_count(np.array([0, 0.01, 0.02, 0.09, 0.2])) == 4


def test_few_maps_are_one_cluster() -> None:
    found = cluster(features(blobs(4, 0)), np.arange(4), "a")
    assert [own.tolist() for own in found.members] == [[0, 1, 2, 3]]
    assert found.gaps == []


def test_a_sample_of_many_maps_gives_the_same_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.concatenate([blobs(50, i, at=at) for i, at in enumerate(PLACES)])
    monkeypatch.setattr(clusters, "MOST_MAPS", 60)
    found = cluster(features(maps), np.arange(150), None)
    assert sorted(sorted(own.tolist()) for own in found.members) == [
        list(range(start, start + 50)) for start in (0, 50, 100)
    ]


def test_the_eigenvalues_of_a_ring() -> None:
    """Those of a ring of n nodes are 1 − cos(2πk/n), twice each but for the ends."""
    from scipy.sparse import csr_matrix

    ring = np.roll(np.eye(12), 1, 0) + np.roll(np.eye(12), -1, 0)
    expected = np.sort(1 - np.cos(2 * np.pi * np.arange(12) / 12))[:9]
    np.testing.assert_allclose(laplacian_eigenvalues(csr_matrix(ring)), expected, atol=1e-12)


def test_the_best_cluster_is_neither_too_large_nor_too_small() -> None:
    whole = Clustering(None, [np.arange(30), np.arange(30, 36)], [])
    own = Clustering("a", [np.arange(10), np.arange(10, 12)], [])
    assert best_cluster([whole, own], range(9)) == (1, 0)
    assert best_cluster([whole, own], range(30, 35)) == (0, 1)
    assert [whole.name(1), own.name(0)] == ["Cluster 2 of all classes", "Cluster 1 of 'a'"]


def test_the_strangest_map_is_the_one_elsewhere() -> None:
    maps = np.concatenate([blobs(30, 0, at=(8, 8)), blobs(1, 1, at=(2, 13)), blobs(8, 2)])
    classes = {"a": np.arange(31), "few": np.arange(31, 39)}
    first, second = strangest(features(maps), classes, 2)
    assert first.index == 30
    assert first.distance > 0.9
    assert first.unusual > 10 > second.unusual


def test_a_projection_keeps_neighbors() -> None:
    maps = np.concatenate([blobs(20, i, at=at) for i, at in enumerate(PLACES)])
    placed = project(features(maps), "tsne")
    distance = np.linalg.norm(placed[:, None] - placed, axis=-1)
    nearest = np.argsort(distance, axis=1)[:, 1]
    assert (nearest // 20 == np.arange(60) // 20).all()
    assert project(features(maps[:4]), "tsne") is None


def test_an_unknown_projection_is_refused() -> None:
    with pytest.raises(OptionError, match="no projection 'pca': choose tsne or umap"):
        project(features(blobs(12, 0)), "pca")
