"""Make a sample from a picture, and explanations of the picture from a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from onnxplain.errors import MapError, PictureError
from onnxplain.execution.samples import Samples
from onnxplain.explainer.heat import no_slope, shows_something, to_heatmap
from onnxplain.explainer.request import Result
from onnxplain.explainer.taken import PictureContent, Taken
from onnxplain.images.picture import as_pixels, as_uint8, decode_pixels, picture_path, read_pixels
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.base import Method
from onnxplain.results.data import MapData, ValuesOnly
from onnxplain.results.explanation import Explanation, Provenance
from onnxplain.results.render.sheet import contact_sheet
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array, FloatArray

Made = TypeVar("Made", bound=MapData)


def take(picture: str | Path | bytes | Array | PictureContent, preprocess: Preprocess) -> Taken:
    """Read a picture and prepare it for the model.

    Raises:
        PictureError: it cannot be read, or is no picture.
    """
    path = picture_path(picture) if isinstance(picture, str | Path) else None
    if isinstance(picture, list | tuple):
        raise PictureError(
            f"One picture is explained at a time, and this is a {type(picture).__name__} of "
            f"{len(picture)}: use explain_many."
        )
    if isinstance(picture, bytes):
        pixels = decode_pixels(picture)
    elif isinstance(picture, PictureContent):
        pixels = decode_pixels(picture.read(), picture.address)
    else:
        pixels = as_pixels(np.asarray(picture)) if path is None else read_pixels(path)
    x, placement = preprocess.apply(pixels)
    return Taken(
        x=x,
        picture=as_uint8(pixels),
        canvas=placement,
        settings=preprocess.to_dict(),
        to_picture=lambda values: np.rint(preprocess.inverse(values)).astype(np.uint8),
        placement=placement,
        path=path,
        address=picture.address if isinstance(picture, PictureContent) else None,
        seen=placement.covered(),
    )


@dataclass(frozen=True, eq=False)
class Explaining(ABC, Generic[Made]):
    """Makes explanations from a picture and a result; `output` is the output that was named."""

    method: Method
    samples: Samples
    provenance: Callable[[str, Mapping[str, Any]], Provenance]
    output: str | None = None

    def explanations(self, taken: Taken, result: Result) -> list[Made | MapError]:
        """One explanation for each target, or a MapError if its map shows nothing."""
        found: list[Made | MapError] = []
        for place in range(len(result.targets)):
            try:
                found.append(self._explanation(place, taken, result))
            except MapError as error:
                found.append(error)
        return found

    def _explanation(self, place: int, taken: Taken, result: Result) -> Made:
        method, values = self.method, result.maps.values[place]
        about, shown = result.maps.about(place), self.method.fixed_target
        flat = "" if shown else no_slope(method, result.targets[place], result.scores[place])
        if flat:
            raise MapError(flat)
        explained = ExplainedTarget(shown) if shown else result.targets[place].described
        warned = about.get("warnings", ())
        more = [result.warning] if result.warning else []
        facts = MapData(
            values=values,
            method=method.name,
            target=replace(explained, output=self.output),
            score=float("nan") if shown else float(result.scores[place]),
            score_kind=result.kinds[place],
            score_tensor=result.score_tensor,
            parameters=method.options(),
            provenance=self.provenance(result.batching, taken.settings),
            layers=result.layer_names,
            diagnostics=about | ({"warnings": [*warned, *more]} if more else {}),
            picture_path=taken.path,
            address=taken.address,
            array=taken.array,
            name=taken.name,
            predicted=result.predicted,
        )
        return self._made(facts, taken, warned)

    @abstractmethod
    def _made(self, facts: MapData, taken: Taken, warnings: Sequence[str]) -> Made:
        """What is made for one target; `warnings` are the method's own.

        Raises:
            MapError: the map is not finite, or the same everywhere.
        """


class WithHeatmaps(Explaining[Explanation]):
    """Makes explanations with heatmaps on the picture."""

    def _made(self, facts: MapData, taken: Taken, warnings: Sequence[str]) -> Explanation:
        spatial = self.samples.spatial(taken.x)
        heatmap, heat_range = heatmap_of(self.method, facts, spatial, taken, warnings)
        return Explanation(
            **vars(facts),
            heatmap=heatmap,
            heatmap_range=heat_range,
            picture=taken.picture,
            seen=taken.seen,
            sheet=sheet_of(self.method, taken, facts.values, facts.layers),
        )


class WithoutHeatmaps(Explaining[ValuesOnly]):
    """Keeps the maps at their own resolution; the same are refused as with heatmaps."""

    def _made(self, facts: MapData, taken: Taken, warnings: Sequence[str]) -> ValuesOnly:
        spatial = self.samples.spatial(taken.x)
        if not shows_something(self.method.heat(facts.values, spatial), taken.canvas):
            heatmap_of(self.method, facts, spatial, taken, warnings)
        return ValuesOnly(**vars(facts), places=taken.picture.shape[:-1])


def heatmap_of(
    method: Method,
    facts: MapData,
    spatial: tuple[int, ...],
    taken: Taken,
    warnings: Sequence[str],
) -> tuple[FloatArray, tuple[float, float]]:
    """The heatmap of one target's map, and the values that became 0 and 1; see `to_heatmap`.

    `spatial` are the axes of rows and columns in the model's input.

    Raises:
        MapError: the map is not finite, or the same everywhere.
    """
    return to_heatmap(
        method.heat(facts.values, spatial),
        taken.canvas,
        f"{method.name} for {facts.target.name}",
        warnings,
        taken.anchors,
        has_zero=not method.values_are_scores,
    )


def sheet_of(
    method: Method, taken: Taken, values: FloatArray, layers: Sequence[str]
) -> Array | None:
    """The picture to draw instead of the heatmap overlay; None to draw the overlay."""
    if method.makes_picture:
        return taken.to_picture(values)
    sheet = method.sheet(values)
    # Maps without names are channels of one layer.
    return None if sheet is None else contact_sheet(sheet, layers if len(layers) > 1 else ())
