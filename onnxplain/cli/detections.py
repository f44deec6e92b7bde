"""The boxes that a detector finds in a picture, listed and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxplain.explainer import Explainer
from onnxplain.file_names import safe_name
from onnxplain.images.picture import as_uint8, read_pixels
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.formats.write import write_files
from onnxplain.results.render.boxes import labeled_boxes
from onnxplain.results.render.frame import Caption
from onnxplain.targets import Box
from onnxplain.tensors import Array


def find_boxes(explainer: Explainer, picture: Path, folder: Path) -> dict[str, Any]:
    """The boxes that a detector finds, in JSON types, and the file in `folder` that shows them.

    Raises:
        OnnxplainError: the picture cannot be read, the model is no detector, or the file cannot be
            written.
    """
    boxes = explainer.detections(picture)
    drawn = encode_png(drawn_boxes(picture, boxes))
    (file,) = write_files(folder, {f"{safe_name(picture.stem)}.boxes.png": drawn})
    listed = [{"target": _target(box), "index": box.index, **asdict(box.place)} for box in boxes]
    return {"picture": str(picture), "boxes": listed, "file": str(file)}


def drawn_boxes(picture: Path, boxes: Sequence[Box]) -> Array:
    """The picture with boxes, their names and scores: uint8 (h, w, 3), RGB."""
    return labeled_boxes(
        as_uint8(read_pixels(picture)),
        [box.place for box in boxes],
        [f"{_target(box)} {box.place.confidence:.2f}" for box in boxes],
        Caption(picture.name, f"{len(boxes)} boxes", "the names are values of --target"),
    )


def box_lines(found: dict[str, Any]) -> Iterator[str]:
    """Lines for people: one for each box, and one for the file."""
    if not found["boxes"]:
        yield "No boxes were found."
    wide = max((len(box["target"]) for box in found["boxes"]), default=0)
    for box in found["boxes"]:
        sides = " ".join(f"{box[side]:7.1f}" for side in ("x", "y", "width", "height"))
        yield f"{box['target']:{wide}}  {box['confidence']:.3f}  {sides}"
    yield f"-> {found['file']}"


def _target(box: Box) -> str:
    label, rank = box.label or str(box.index), box.place.rank
    return label if rank == 1 else f"{label}#{rank}"
