"""Where the explained class is in a picture, by annotations."""

from __future__ import annotations

from pathlib import Path

from onnxplain.errors import PictureError, TargetError
from onnxplain.images.annotations import Annotations, Size
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array


def inside(annotations: Annotations, picture: Path, size: Size, target: ExplainedTarget) -> Array:
    """Where the explained class is in a picture, bool (rows, columns).

    Objects without a category count for every target. A category fits a class if it is its index,
    its label, or one of the names between commas of the label.

    Raises:
        TargetError: no object of the picture has this class.
        PictureError: the picture is not annotated, at another size, or its annotations are
            malformed.
    """
    found = annotations.of(picture)
    if found is None:
        raise PictureError(
            f"{annotations.path} has no annotations of {picture}: its names must end the paths of "
            "the pictures."
        )
    if found.size not in (None, size):
        raise PictureError(
            f"The annotations of {picture.name} are of {found.size[1]} x {found.size[0]} pixels, "
            f"and the picture is of {size[1]} x {size[0]}: name the picture that was annotated."
        )
    names = _names(target)
    known = found.regions
    fitting = [one for one in known if not one.category or one.category.casefold() in names]
    if not fitting:
        listed = ", ".join(sorted({one.category for one in known})) or "nothing"
        raise TargetError(
            f"The annotations of {picture.name} hold {listed}, and not {target.name!r}: name "
            "the class with --target, or its category as the labels do."
        )
    return found.inside(size, fitting)


def _names(target: ExplainedTarget) -> set[str]:
    label = target.label or ""
    parts = [label, *label.split(","), "" if target.index is None else str(target.index)]
    return {part.strip().casefold() for part in parts if part.strip()}
