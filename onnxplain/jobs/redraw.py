"""Explanations made again from maps of the format map16, without the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from onnxplain.errors import OnnxplainError, PictureError, ResultsError, attempted
from onnxplain.explainer.picture import heatmap_of, sheet_of, take
from onnxplain.images.preprocess import Preprocess
from onnxplain.jobs.addresses import is_address, read_address
from onnxplain.jobs.archives import INSIDE, read_member
from onnxplain.jobs.maps import KeptMap, target_of
from onnxplain.jobs.records import Record
from onnxplain.methods.base import Method
from onnxplain.regular_files import is_there
from onnxplain.results.data import MapData
from onnxplain.results.explanation import Explanation, ModelFacts, Provenance


class Source(Protocol):
    """What an explanation is made from: the facts of a job, and its maps."""

    job: Mapping[str, Any]

    def kept(self, record: Record) -> KeptMap:
        """The map of a record."""

    def method_of(self, record: Record) -> Method:
        """The method of a record."""


def explanation_again(source: Source, record: Record) -> Explanation:
    """See `Results.explanation`."""
    kept, method, job = source.kept(record), source.method_of(record), source.job
    if "layout" not in job["preprocess"]:
        raise ResultsError(
            f"{record.id} explains an array, and only pictures are drawn again: run the job with "
            "--format png."
        )
    preprocess = Preprocess.from_dict(job["preprocess"])
    taken = take(_picture(record, job["working_folder"]), preprocess)
    warnings = list(record.warnings)
    facts = MapData(
        values=kept.values,
        method=str(kept.facts["method"]),
        target=target_of(kept.facts["target"]),
        score=float("nan") if record.score is None else record.score,
        score_kind=str(record.score_kind),
        score_tensor="",
        parameters=job["options"],
        provenance=_provenance(job, preprocess),
        layers=tuple(kept.facts["layers"]),
        diagnostics={**kept.facts["passes"], "warnings": warnings},
        picture_path=Path(record.input),
        name=record.input_id.rsplit("/", 1)[-1],
        predicted=record.predicted,
    )
    found = attempted(heatmap_of, method, facts, tuple(job["spatial"]), taken, warnings)
    if isinstance(found, OnnxplainError):
        raise ResultsError(f"{record.id} cannot be drawn again: {found}")
    heatmap, heat_range = found
    return Explanation(
        **vars(facts),
        heatmap=heatmap,
        heatmap_range=heat_range,
        picture=taken.picture,
        seen=taken.seen,
        sheet=sheet_of(method, taken, facts.values, facts.layers),
    )


def _provenance(job: Mapping[str, Any], preprocess: Preprocess) -> Provenance:
    model = job["model"]
    named = model["file"] and Path(model["file"])
    return Provenance(
        ModelFacts(named, model["sha256"], model["opset"], model["input"], tuple(model["outputs"])),
        preprocess.to_dict(),
        provider="",
        versions={"onnxplain": job["onnxplain"]["version"]},
    )


def _picture(record: Record, working_folder: str) -> bytes:
    """The content of the picture's file, as the job read it.

    Raises:
        ResultsError: it is missing, or was changed.
        OptionError: a package that is needed to read it is not installed.
    """
    given = record.input
    file = given.partition(INSIDE)[0]
    if not is_address(file) and not is_there(file):
        given = str(Path(working_folder) / given)
        if not is_there(Path(working_folder) / file):
            raise ResultsError(
                f"The picture {record.input} is not there: go to the folder in which the job ran."
            )
    try:
        content = read_member(given) if INSIDE in given else read_address(given)
    except PictureError as error:
        raise ResultsError(str(error)) from error
    if record.sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise ResultsError(f"{given} was changed after it was explained: run the job again.")
    return content
