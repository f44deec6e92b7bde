"""Explaining the pictures of a `ray.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import MapError, OnnxplainError, PictureError
from onnxplain.explainer import Explainer, Picture
from onnxplain.explainer.taken import PictureContent
from onnxplain.jobs.job import errors_of_one_picture
from onnxplain.methods.registry import AUTO
from onnxplain.results.data import MapData
from onnxplain.targets import TargetSpec
from onnxplain.tensors import Array

_BATCH = 32


def map_dataset(
    dataset: Any,
    model: Any,
    *,
    column: str = "image",
    method: str = AUTO,
    target: TargetSpec | Sequence[TargetSpec] = "top1",
    options: Mapping[str, Any] | None = None,
    explainer: Mapping[str, Any] | None = None,
    batch_size: int = _BATCH,
    **resources: Any,
) -> Any:
    """Explain the pictures of a Ray dataset, with an explainer in each of several actors.

    Args:
        dataset: a `ray.data.Dataset`.
        model: path, bytes or ModelProto; a path must exist on every node.
        column: of the pictures: bytes of files, RGB arrays (H, W, 3) uint8, structs with `bytes`,
            or paths.
        method: as in `Explainer.explain`.
        target: one or several, as in `Explainer.explain_each`.
        options: the method's own.
        explainer: other arguments of `Explainer`, such as `{"provider": "cuda"}`.
        batch_size: rows that an actor gets at a time; the model runs in batches of the fastest
            size.
        resources: arguments of `Dataset.map_batches`, such as `concurrency=(2, 8)` for bounds
            between which actors are added, `num_cpus=1` and `num_gpus=0.5`.

    Returns:
        A `ray.data.Dataset` that is computed when it is read. It has a row for each picture and
        target: the columns of the dataset without that of the pictures, and `target`,
        `class_index`, `class_name`, `predicted`, `score`, `score_kind`, `values` (float32, signed,
        never rescaled, flat) and their `shape`. Where a picture or target cannot be explained,
        `error` is a sentence, and the others are empty.

    Raises:
        OnnxplainError: when it is read, an error that every picture would cause.
    """
    given = {"method": method, "target": target, "options": dict(options or {}), "column": column}
    arguments = {"model": model, **(explainer or {})}
    return dataset.map_batches(
        _Explaining,
        fn_constructor_kwargs={"explainer": arguments, **given},
        batch_size=batch_size,
        batch_format="numpy",
        **{"concurrency": 1, **resources},
    )


class _Explaining:
    """The actor of `map_dataset`: from batches of rows to batches of results."""

    def __init__(
        self,
        explainer: Mapping[str, Any],
        method: str,
        target: TargetSpec | Sequence[TargetSpec],
        options: Mapping[str, Any],
        column: str,
    ) -> None:
        self._explainer = Explainer(**explainer)
        self._method = method
        self._target = target
        self._options = options
        self._column = column

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Any]:
        pictures = map(_picture, batch[self._column])
        found = self._explainer.try_values(pictures, self._method, self._target, **self._options)
        kept = [name for name in batch if name != self._column]
        rows = [
            {**{name: batch[name][i] for name in kept}, **facts}
            for i, results in enumerate(found)
            for facts in self._rows(results)
        ]
        return {name: _column([row[name] for row in rows]) for name in (*kept, *_EMPTY)}

    def _rows(
        self, found: Sequence[MapData | MapError] | OnnxplainError
    ) -> Iterator[dict[str, Any]]:
        if isinstance(found, OnnxplainError):
            if not isinstance(found, errors_of_one_picture(self._explainer)):
                raise found
            yield {**_EMPTY, "error": str(found)}
            return
        for one in found:
            yield {**_EMPTY, "error": str(one)} if isinstance(one, MapError) else _facts(one)


_EMPTY: Mapping[str, Any] = {
    "target": None,
    "class_index": None,
    "class_name": None,
    "predicted": None,
    "score": None,
    "score_kind": None,
    "values": None,
    "shape": None,
    "error": None,
}


def _facts(data: MapData) -> dict[str, Any]:
    return {
        "target": data.target.name,
        "class_index": data.target.index,
        "class_name": data.target.label,
        "predicted": data.predicted,
        "score": data.score,
        "score_kind": data.score_kind,
        "values": data.values.ravel().tolist(),
        "shape": list(data.values.shape),
        "error": None,
    }


def _column(values: list[Any]) -> Array:
    """Values of any kind as they are, one for each row."""
    column = np.empty(len(values), object)
    for i, value in enumerate(values):
        column[i] = value
    return column


def _picture(cell: Any) -> Picture:
    """What a cell holds, as an explainer takes it."""
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if isinstance(content, bytes | str | np.ndarray):
        return content

    def read() -> bytes:
        raise PictureError(f"A row holds no picture, but {type(content).__name__}.")

    return PictureContent("a row", read)
