"""Make a sample from an array that is in the form of the model's input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxplain.errors import OptionError, PictureError
from onnxplain.execution.arrays import require_fit, samples_for
from onnxplain.execution.baselines import Scene
from onnxplain.execution.samples import Samples
from onnxplain.explainer.array_settings import ArraySettings, Scaling
from onnxplain.explainer.taken import SampleInFile, Taken
from onnxplain.images.array_files import read_npy, read_tiff
from onnxplain.images.picture import ARRAY_SUFFIX
from onnxplain.images.places import Places
from onnxplain.results.data import ArrayFacts
from onnxplain.tensors import Array, TensorSpec

_PERCENTILES = 2, 98
_KINDS = {1: "signal", 2: "scene", 3: "volume"}
"""By the number of axes along which neighbors are related."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Takes arrays for the input `spec` of a model; `find_scaling` is called for the first one."""

    spec: TensorSpec
    samples: Samples
    settings: ArraySettings
    find_scaling: Callable[[], Scaling]

    @functools.cached_property
    def scaling(self) -> Scaling:
        """How arrays become the input.

        Raises:
            PreprocessError: a setting is malformed, or has no effect.
        """
        return self.find_scaling()

    def each(self, given: str | Path | Array) -> list[SampleInFile] | list[Array]:
        """The samples of a .npy file or of an array that holds several; empty if it holds one.

        Raises:
            PictureError: the file cannot be read.
        """
        if isinstance(given, np.ndarray):
            return [given[i : i + 1] for i in range(len(given))] if self._several(given) else []
        path = Path(given)
        if path.suffix.lower() != ARRAY_SUFFIX or not self._several(array := read_npy(path)):
            return []
        return [SampleInFile(path, i) for i in range(len(array))]

    def take(self, given: str | Path | Array | SampleInFile) -> Taken:
        """The one sample that an array or a file holds.

        Raises:
            PictureError: the file cannot be read, holds several samples, or does not fit the model.
            OptionError: a setting does not fit the array.
        """
        array, name, path, index = self._read(given)
        if self._several(array):
            raise PictureError(
                f"{name} holds {len(array)} samples, and one is explained at a time: use "
                "explain_many, or give one of them."
            )
        raw = self._fitted(array)
        try:
            require_fit(self.spec, raw)
            scene = self.samples.scene(raw)
            channels = 1 if scene.channels is None else scene.channels
            x = samples_for(self.spec, self.scaling.apply(raw, channels))
        except OptionError as error:
            raise PictureError(f"{name}: {error}") from None
        kind = "row" if scene.channels is None else _KINDS[len(scene.spatial)]
        drawn = _DRAWN[kind](self.settings, scene)
        facts = ArrayFacts(
            kind,
            x.shape[1:],
            array.dtype.name,
            index,
            drawn.bands,
            drawn.value_range,
            self._names(scene),
        )
        return Taken(
            x=x,
            picture=drawn.picture(raw),
            canvas=Places(scene.places),
            settings=self.scaling.to_dict(),
            to_picture=drawn.picture,
            placement=self.samples.placement(x),
            path=path,
            array=facts,
            anchors=(0.0,) if kind == "row" else (),
        )

    def _read(
        self, given: str | Path | Array | SampleInFile
    ) -> tuple[Array, str, Path | None, int | None]:
        """The array, its name in errors, its file, and its index there."""
        if isinstance(given, np.ndarray):
            return given, "The array", None, None
        if isinstance(given, SampleInFile):
            array = read_npy(given.path)[given.index : given.index + 1]
            return array, f"{given.path}, sample {given.index}", given.path, given.index
        path = Path(given)
        if path.suffix.lower() == ARRAY_SUFFIX:
            return read_npy(path), str(path), path, None
        return self._from_tiff(path), str(path), path, None

    def _several(self, array: Array) -> bool:
        """Whether an array has a batch axis, and more than one sample."""
        rank = array.ndim if self.spec.shape is None else len(self.spec.shape)
        return array.ndim == rank and rank > 0 and len(array) > 1

    def _fitted(self, array: Array) -> Array:
        """An array as (1, ...), with its channels where the model has them.

        They are moved to the other end only where the array does not fit as it is. A missing axis
        of one channel is added.
        """
        if self.spec.shape is None or not array.size:
            return array
        declared = self.spec.shape[1:]
        sample = array[0] if array.ndim > len(declared) else array
        missing, channels = len(declared) - sample.ndim, self._channels
        if missing == 1 and channels is not None and declared[channels] == 1:
            sample, missing = np.expand_dims(sample, channels), 0
        if missing:
            return array
        if channels is not None and not _fits(sample.shape, declared):
            moved = {  # of two axes, both are the same
                form.shape: form
                for form in (np.moveaxis(sample, -1, 0), np.moveaxis(sample, 0, -1))
            }
            fitting = [form for shape, form in moved.items() if _fits(shape, declared)]
            sample = fitting[0] if len(fitting) == 1 else sample
        return sample[None]

    @property
    def _channels(self) -> int | None:
        """The axis of channels in a sample without batch; None where it is not known."""
        axes = self.samples.axes(len(self.spec.shape or ()))
        return axes.index("C") - 1 if axes else None

    def _from_tiff(self, path: Path) -> Array:
        """A TIFF file's array, with its axes in the order of the model's input, without batch."""
        array, letters = read_tiff(path)
        axes = self.samples.axes(len(self.spec.shape or ()))[1:]
        pages = "D" if "D" in axes else "C"
        named = [_TIFF_AXES.get(letter, pages) for letter in letters]
        if not set("HW") <= set(named) <= set(axes) or len(set(named)) < len(named):
            raise PictureError(
                f"{path} has the axes {letters} of the sizes {array.shape}, which are not those of "
                f"the model's input, {axes or 'whose axes are not known'}: save the array that it "
                "takes as .npy."
            )
        for missing in [axis for axis in axes if axis not in named]:
            array, named = array[None], [missing, *named]
        return np.transpose(array, [named.index(axis) for axis in axes])

    def _names(self, scene: Scene) -> tuple[str, ...]:
        names = self.settings.names
        if names and (scene.channels is not None or scene.x[0].size != len(names)):
            raise OptionError(
                f"There are {len(names)} names, and the model's input of the shape "
                f"{scene.x.shape[1:]} is no row of so many features."
            )
        return names


_TIFF_AXES: Mapping[str, str] = {"Y": "H", "X": "W", "S": "C", "C": "C", "Z": "D"}
"""Axes of TIFF files, as tifffile calls them, in the letters of layouts; others are pages."""


def _fits(shape: tuple[int, ...], declared: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(size, int) or size == given
        for given, size in zip(shape, declared, strict=True)
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """How a sample is drawn, and the settings that were used."""

    picture: Callable[[Array], Array]
    bands: tuple[int, ...] = ()
    value_range: tuple[tuple[float, float], ...] = ()


def _colors(settings: ArraySettings, scene: Scene) -> _Drawn:
    """Bands of a scene or volume in colors or gray, (places, 3) uint8."""
    assert scene.channels is not None
    channels = scene.x.shape[scene.channels]
    in_colors = channels == 3 or (channels > 3 and len(scene.spatial) == 2)
    bands = settings.bands or ((1, 2, 3) if in_colors else (1,))
    if max(bands) > channels:
        raise OptionError(
            f"There is no band {max(bands)}: the array has {channels}, and they count from 1."
        )
    chosen = [band - 1 for band in bands]
    axis = scene.channels - 1

    def planes(sample: Array) -> Array:
        return np.moveaxis(sample, axis, 0)[chosen].astype(np.float64)

    shown = planes(scene.x[0])
    given = settings.value_range
    ranges = tuple(_range(plane) if given is None else given for plane in shown)

    def picture(values: Array) -> Array:
        sample = values[0] if values.ndim == scene.x.ndim else values
        gray = [_bytes(*one) for one in zip(planes(sample), ranges, strict=True)]
        return np.stack(gray * (3 // len(gray)), axis=-1)

    return _Drawn(picture, bands, ranges)


def _range(plane: Array) -> tuple[float, float]:
    known = plane[np.isfinite(plane)]
    low, high = np.percentile(known, _PERCENTILES) if known.size else (0, 1)
    return float(low), float(high)


def _bytes(plane: Array, limits: tuple[float, float]) -> Array:
    """Values as 0 to 255; those that are not finite are black, those of an empty range gray."""
    low, high = limits
    if not low < high:
        return np.where(np.isfinite(plane), 128, 0).astype(np.uint8)
    level = np.nan_to_num((plane - low) / (high - low), nan=0, posinf=1, neginf=0)
    return np.rint(255 * np.clip(level, 0, 1)).astype(np.uint8)


def _curves(settings: ArraySettings, scene: Scene) -> _Drawn:
    """The values of a signal, (length, channels)."""
    assert scene.channels is not None
    axis = scene.channels - 1

    def picture(values: Array) -> Array:
        sample = values[0] if values.ndim == scene.x.ndim else values
        return np.moveaxis(sample, axis, -1).astype(np.float32)

    return _Drawn(picture)


def _cells(settings: ArraySettings, scene: Scene) -> _Drawn:
    """The values of a row, (features, 1)."""
    return _Drawn(lambda values: values.reshape(*scene.places, 1).astype(np.float32))


_DRAWN: Mapping[str, Callable[[ArraySettings, Scene], _Drawn]] = {
    "scene": _colors,
    "volume": _colors,
    "signal": _curves,
    "row": _cells,
}
