"""Finding the preprocessing of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxplain.errors import PreprocessError
from onnxplain.images.files import read_sidecar
from onnxplain.images.geometry import InputSize, Size
from onnxplain.images.graph_values import IMAGENET, FirstSteps, GraphReader, read_values
from onnxplain.images.hub import DEFAULT_CROP, read_hub_config
from onnxplain.images.metadata import Found, read_metadata
from onnxplain.images.preprocess import Preprocess
from onnxplain.images.settings import parse_settings
from onnxplain.tensors import TensorSpec

_NORMALIZATION: Final = ("scale", "mean", "std")
_GUESS: Final = "guess"
WRITTEN_GUESS: Final = "guess, in"
"""What the origin begins with of a guess that was written to a sidecar and not corrected."""


def is_guess(origin: str) -> bool:
    """Whether preprocessing of that origin is a guess."""
    return origin.startswith(_GUESS)


_DEFAULT_SIDE: Final = 224


@dataclass(frozen=True)
class PictureInput:
    """What the declared shape of an input says about pictures; None for what it leaves open."""

    layout: str
    channels: int | None
    height: int | None
    width: int | None

    @classmethod
    def of(cls, spec: TensorSpec, layout: str | None = None) -> PictureInput:
        """Read the shape in the given layout, by default in the one that the shape suggests.

        The axis of length 1, 3 or 4 holds the channels. If that does not decide, the layout is
        "NCHW". Raises PreprocessError if the input cannot take a picture.
        """
        shape = spec.shape if spec.shape is not None else (None,) * 4
        if len(shape) != 4:
            raise _misfit(spec, "a picture needs four axes: batch, channels, height and width")
        if spec.dtype.kind in "OSUbc":
            raise _misfit(spec, "a picture needs numbers")
        if layout is None:
            last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
            layout = "NHWC" if last else "NCHW"
        order = (1, 2, 3) if layout == "NCHW" else (3, 1, 2)
        channels, height, width = (
            side if isinstance(side, int) else None for side in (shape[axis] for axis in order)
        )
        if channels not in (None, 1, 3):
            raise _misfit(
                spec, f"read as {layout} it takes {channels} channels, a picture has 1 or 3"
            )
        return cls(layout, channels, height, width)

    @property
    def size(self) -> InputSize | None:
        """The declared size; None if the model takes any.

        A width that is not declared follows the picture, as for lines of text; a height that is not
        declared is assumed to equal the width.
        """
        if self.height is None:
            return None if self.width is None else (self.width, self.width)
        return self.height, self.width


def find_preprocess(
    spec: TensorSpec,
    model_path: Path | None,
    metadata: Mapping[str, str],
    flags: Mapping[str, object],
    graph: GraphReader = GraphReader(),  # noqa: B008 - it cannot change
) -> Preprocess:
    """Find how to prepare pictures for the input `spec`; `origin` names the source.

    The first source that exists is used: the sidecar file, the model's own metadata, or the
    configuration of Hugging Face or timm near the model. If there is none, values are those that
    the `graph` itself prepares, as far as they are clear; the other settings are
    guessed, and `origin` says so. Then `flags` replace single settings: they are named as the
    fields of `Preprocess`, and None means no flag. A `size` flag also scales `resize`. With
    guessed settings, a `mean` or `std` flag needs a `scale` flag. Settings that are still missing
    are taken from the model's input, with a side of 224 if it takes any size.

    Raises PreprocessError for settings that are malformed, have no effect, or do not fit the input.
    """
    given = parse_settings({name: value for name, value in flags.items() if value is not None})
    sidecar = _sidecar(model_path)
    declared = PictureInput.of(spec, given.get("layout")).size
    found = sidecar or read_metadata(metadata, declared) or read_hub_config(model_path)
    preprocess = _complete(found or _guess(spec, given, graph), given, spec, graph)
    # A flag may well make a setting of the file useless.
    written = sidecar.settings if sidecar and not {"fit", "size"} & given.keys() else {}
    _refuse_unused(preprocess, [*given, *(name for name, value in written.items() if value)])
    check_fits(preprocess, spec)
    return preprocess


def _refuse_unused(preprocess: Preprocess, given: Iterable[str]) -> None:
    """Raise PreprocessError for a setting without effect: the user expects that it has one."""
    fitted = f"the fit {preprocess.fit!r}", "choose another fit"
    sized = "a size that is not the picture's own", "give the size as 'picture'"
    unused = {
        "resize": (preprocess.fit != "crop" and preprocess.size is not None, *fitted),
        "pad": (preprocess.fit == "stretch" or _is_filled_by_crop(preprocess), *fitted),
        "multiple": (preprocess.size is not None and preprocess.multiple > 1, *sized),
    }
    for name in given:
        without_effect, beside, instead = unused.get(name, (False, "", ""))
        if without_effect:
            raise PreprocessError(
                f"{name} has no effect with {beside} ({preprocess.origin}): leave it out, or "
                f"{instead}."
            )


def _is_filled_by_crop(preprocess: Preprocess) -> bool:
    """Whether the crop of every picture fills the model's input, so that nothing is padded."""
    size = _whole(preprocess.size)
    if preprocess.fit != "crop" or size is None:
        return False
    resized = preprocess.resize or min(size)
    least = resized if isinstance(resized, tuple) else (resized, resized)
    return all(new >= side for new, side in zip(least, size, strict=True))


def check_fits(preprocess: Preprocess, spec: TensorSpec) -> None:
    """Raise PreprocessError unless the input accepts the tensors that `preprocess` makes."""
    declared = PictureInput.of(spec, preprocess.layout)
    made: dict[str, tuple[object, object]] = {
        "channels": (preprocess.channel_count, declared.channels),
        "height": (preprocess.size and preprocess.size[0], declared.height),
        "width": (preprocess.size and preprocess.size[1], declared.width),
        "dtype": (preprocess.dtype, spec.dtype),
    }
    for name, (ours, theirs) in made.items():
        if theirs is not None and ours != theirs:
            raise _misfit(
                spec,
                f"the preprocessing ({preprocess.origin}) makes {name} = {ours or 'any'} "
                f"where it takes {theirs}; set size, channels or layout to fit",
            )


def _sidecar(model_path: Path | None) -> Found | None:
    sidecar = read_sidecar(model_path)
    if sidecar is None or "preprocess" not in sidecar.content:
        return None
    settings = sidecar.content["preprocess"]
    if not isinstance(settings, dict):
        raise PreprocessError(f"'preprocess' in {sidecar.path} must be a JSON object.")
    guessed = is_guess(str(settings.get("origin", "")))
    return Found(settings, f"{WRITTEN_GUESS} {sidecar.title}" if guessed else sidecar.title)


def _complete(
    found: Found, given: Mapping[str, Any], spec: TensorSpec, graph: GraphReader
) -> Preprocess:
    try:
        settings = parse_settings(found.settings)
    except PreprocessError as error:
        raise PreprocessError(f"In {found.origin}: {error}") from error
    before = settings.get("size")
    settings.update(given)
    declared = PictureInput.of(spec, settings.get("layout"))
    origin = [found.origin]
    if given:
        origin.append(f"{', '.join(given)} from flags")
    if "size" not in settings and declared.size is None:
        origin.append(f"a size of {_DEFAULT_SIDE} because the model takes any")
    if "size" in given and "resize" not in given:
        settings["resize"] = _rescaled(settings.get("resize"), before, given["size"])
    defaults = {
        "layout": declared.layout,
        "channels": "GRAY" if declared.channels == 1 else "RGB",
        "size": declared.size or (_DEFAULT_SIDE, _DEFAULT_SIDE),
        "dtype": spec.dtype,
    }
    settings = {**defaults, **settings}
    if settings["size"] is None and "multiple" not in settings:
        settings["multiple"] = multiple = graph.size_multiple(settings["layout"])
        if multiple > 1:
            origin.append(f"sides rounded to multiples of {multiple}, which the graph needs")
    return Preprocess.from_dict({**settings, "origin": ", ".join(origin)})


def _rescaled(
    resize: int | Size | None, before: InputSize | None, after: InputSize | None
) -> object:
    """Scale `resize` to a new size, so that a crop shows the same part of the picture."""
    old, new = (_whole(size) for size in (before, after))
    if resize is None or old is None or new is None:
        return resize
    if isinstance(resize, int):
        return round(resize * min(new) / min(old))
    return [round(side * to / start) for side, to, start in zip(resize, new, old, strict=True)]


def _whole(size: InputSize | None) -> Size | None:
    """A size of which both sides are known, else None."""
    return None if size is None or size[1] is None else (size[0], size[1])


def _guess(spec: TensorSpec, given: Mapping[str, Any], graph: GraphReader) -> Found:
    declared = PictureInput.of(spec, given.get("layout"))
    gray = declared.channels == 1 or given.get("channels") == "GRAY"
    steps = graph.first_steps(declared.layout, 1 if gray else 3)
    framing, values = _read_framing(declared, given, steps), _read_values(spec, given, steps)
    read = ", ".join(words for _, words in filter(None, [framing, values]))
    guessed = []
    if framing is None:
        framing = _guess_framing(declared, gray, given)
        guessed.append(framing[1])
    if values is None:
        values = _guess_values(spec, gray, given)
        guessed.append(values[1])
    settings = {"interpolation": "antialias-bilinear", **framing[0], **values[0]}
    guess = ", ".join(filter(None, guessed))
    origin = [f"guess: {guess}"] if guess else []
    origin += [f"read from the graph: {read}"] if read else []
    return Found(settings, "; ".join(origin) or "defaults")


_Part = tuple[Mapping[str, Any], str]
"""Some settings, and words for their origin."""


def _read_framing(
    declared: PictureInput, given: Mapping[str, Any], steps: FirstSteps | None
) -> _Part | None:
    if steps is None or steps.resized is None or declared.size is not None:
        return None
    if given.keys() & {"size", "fit", "resize"}:
        return None
    height, width = steps.resized
    words = f"pictures of any size, which the graph resizes to {height} x {width}"
    return {"fit": "stretch", "size": None}, words


def _read_values(
    spec: TensorSpec, given: Mapping[str, Any], steps: FirstSteps | None
) -> _Part | None:
    """Values that the graph prepares; integers are pixels, whatever the graph makes of them."""
    if steps is None or spec.dtype.kind in "iu" or given.keys() & {*_NORMALIZATION}:
        return None
    return read_values(steps)


def _guess_framing(declared: PictureInput, gray: bool, given: Mapping[str, Any]) -> _Part:
    size = given.get("size", declared.size or (_DEFAULT_SIDE, _DEFAULT_SIDE))
    if given.get("fit", "crop") != "crop" or {"fit", "resize"} <= given.keys():
        return {}, ""
    if gray or size is None or size[0] != size[1]:
        own = size is None or size[1] is None
        words = "the whole picture with its proportions" if own else "the whole picture stretched"
        return ({}, "") if "fit" in given else ({"fit": "stretch"}, words)
    resize = int(size[0] / DEFAULT_CROP)
    framing = {"fit": "crop", "resize": resize}
    return framing, f"the center {size[0]} x {size[1]} of a short side of {resize}"


def _guess_values(spec: TensorSpec, gray: bool, given: Mapping[str, Any]) -> _Part:
    normalization = [name for name in _NORMALIZATION if name in given]
    if normalization:
        if "scale" not in given:
            raise PreprocessError(
                f"Give a scale with {' and '.join(normalization)}: 1 if they are for pixels "
                "in 0..255, 0.00392157 if they are for pixels in 0..1."
            )
        return {}, ""
    if spec.dtype == np.int8:
        return {"mean": 128}, "values of -128..127"
    if spec.dtype.kind in "iu":
        return {}, "values of 0..255"
    if gray:
        return {"scale": 1 / 255}, "values of 0..1"
    return IMAGENET, "values of 0..1 with ImageNet's mean and standard deviation"


def _misfit(spec: TensorSpec, why: str) -> PreprocessError:
    sides = ", ".join("?" if side is None else str(side) for side in spec.shape or ())
    shape = "unknown shape" if spec.shape is None else f"shape ({sides})"
    return PreprocessError(
        f"Input {spec.name!r} of {shape} and type {spec.dtype} does not fit: {why}."
    )
