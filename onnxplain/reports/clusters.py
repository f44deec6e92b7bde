"""Clusters of maps: which strategies a model has, by spectral clustering.

Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what machines really learn",
Nature Communications 10:1096, 2019 (SpRAy): maps are nodes of a graph, edges join nearest
neighbors, and the gaps between the smallest eigenvalues of its normalized Laplacian say how many
clusters there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.reports.extras import needed
from onnxplain.tensors import Array, FloatArray

MOST_CLUSTERS = 8
MOST_MAPS = 2000
"""More maps are clustered by a random sample of as many; the others join their nearest one."""

SMALL_EIGENVALUE = 0.1
"""Above it nothing is divided: half of the second eigenvalue is at most the share of edges that the
best cut through the graph cuts (Cheeger's inequality), so that a larger one means one cluster."""

_LEAST_MAPS = 10


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of the maps of one class, or of all.

    Attributes:
        class_name: the class; None for the maps of all classes.
        members: the indices of the maps of each cluster, the largest cluster first.
        eigenvalues: the smallest of the graph's normalized Laplacian, ascending.
    """

    class_name: str | None
    members: Sequence[Array]
    eigenvalues: Sequence[float]

    @property
    def gaps(self) -> list[float]:
        """The gap after each eigenvalue; see `cluster_count`."""
        return [float(gap) for gap in np.diff(self.eigenvalues)]

    def name(self, index: int) -> str:
        """A cluster in words: its number, from 1, and its class."""
        of = "all classes" if self.class_name is None else repr(self.class_name)
        return f"Cluster {index + 1} of {of}"


def features(grids: FloatArray) -> Array:
    """Maps (maps, rows, columns) of sum 1 as vectors, (maps, cells).

    The Euclidean distance of two vectors is the Hellinger distance of their maps, 0 to 1.
    """
    vectors: Array = np.sqrt(np.asarray(grids, np.float64) / 2).reshape(len(grids), -1)
    return vectors


def cluster(vectors: Array, indices: Array, class_name: str | None, seed: int = 0) -> Clustering:
    """Cluster some maps; with too few of them they are one cluster.

    Args:
        vectors: the `features` of all maps.
        indices: which maps.
        class_name: what they are.
        seed: of the sample, if there are more than `MOST_MAPS`.
    """
    if len(indices) < _LEAST_MAPS:
        return Clustering(class_name, [indices], [])
    rng = np.random.default_rng(seed)
    many = len(indices) > MOST_MAPS
    chosen = np.sort(rng.choice(indices, MOST_MAPS, replace=False)) if many else indices
    affinity = _affinity(vectors[chosen])
    eigenvalues = laplacian_eigenvalues(affinity)
    count = cluster_count(eigenvalues)
    labels = _labels(affinity, count)
    if many:
        nearest = needed("sklearn.neighbors").KNeighborsClassifier(1)
        labels = nearest.fit(vectors[chosen], labels).predict(vectors[indices])
    members = [indices[labels == label] for label in np.unique(labels)]
    return Clustering(class_name, sorted(members, key=len, reverse=True), eigenvalues.tolist())


def _affinity(vectors: Array) -> Any:
    """The symmetric graph of nearest neighbors, sparse; their number grows as the logarithm."""
    neighbors = min(len(vectors) - 1, max(5, round(2 * np.log(len(vectors)))))
    graph = needed("sklearn.neighbors").kneighbors_graph(vectors, neighbors, include_self=True)
    return (graph + graph.T) / 2


def laplacian_eigenvalues(affinity: Any) -> Array:
    """The smallest eigenvalues of the normalized Laplacian, ascending, for the gaps after them."""
    laplacian = needed("scipy.sparse.csgraph").laplacian(affinity, normed=True).toarray()
    count = min(MOST_CLUSTERS + 1, len(laplacian))
    found: Array = needed("scipy.linalg").eigvalsh(laplacian, subset_by_index=[0, count - 1])
    return found.clip(0)


def cluster_count(eigenvalues: Array) -> int:
    """The number of eigenvalues before the largest gap after a small one."""
    small = int((eigenvalues[:-1] <= SMALL_EIGENVALUE).sum())
    return int(np.argmax(np.diff(eigenvalues)[:small])) + 1


def _labels(affinity: Any, count: int) -> Array:
    if count == 1:
        return np.zeros(affinity.shape[0], int)
    spectral = needed("sklearn.cluster").SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=0
    )
    with warnings.catch_warnings():
        # A graph in several parts is what is looked for.
        warnings.filterwarnings("ignore", "Graph is not fully connected")
        labels: Array = spectral.fit_predict(affinity)
    return labels


def project(vectors: Array, kind: str, seed: int = 0) -> Array | None:
    """Places of maps in the plane, (maps, 2), near each other where maps are alike.

    None for fewer than ten maps. `kind` is "tsne" (van der Maaten and Hinton 2008) or "umap"
    (McInnes 2018), which umap-learn provides.

    Raises:
        OptionError: there is no such kind, or its library is not installed.
    """
    check_projection(kind)
    if len(vectors) < _LEAST_MAPS:
        return None
    placed: Array = PROJECTIONS[kind](len(vectors), seed).fit_transform(vectors)
    return placed


def check_projection(kind: str) -> None:
    """Raise OptionError unless the name is one of `PROJECTIONS`, and its library is installed."""
    if kind not in PROJECTIONS:
        raise OptionError(f"There is no projection {kind!r}: choose {' or '.join(PROJECTIONS)}.")
    PROJECTIONS[kind](_LEAST_MAPS, 0)


def _tsne(count: int, seed: int) -> Any:
    perplexity = min(30.0, (count - 1) / 3)
    tsne = needed("sklearn.manifold").TSNE
    return tsne(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)


def _umap(count: int, seed: int) -> Any:
    try:
        umap = import_module("umap").UMAP
    except ImportError:
        raise OptionError(
            "The projection umap needs umap-learn: pip install umap-learn, or choose tsne."
        ) from None
    return umap(n_neighbors=min(15, count - 1), random_state=seed, n_jobs=1)


PROJECTIONS: Mapping[str, Callable[[int, int], Any]] = {"tsne": _tsne, "umap": _umap}
"""What makes a plane of a number of maps, by name; the second argument is the seed."""
