"""The format map16: maps at their own grid as float16, many in one shard, which zarr reads."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from onnxplain.errors import ResultsError
from onnxplain.jobs.extras import needed
from onnxplain.jobs.records import MapPlace
from onnxplain.regular_files import is_inside
from onnxplain.results.data import MapData
from onnxplain.results.formats.manifest import plain
from onnxplain.results.formats.write import refused
from onnxplain.targets.described import (
    ExplainedBox,
    ExplainedReference,
    ExplainedRegion,
    ExplainedTarget,
    ExplainedText,
)
from onnxplain.tensors import Array, FloatArray

MAP16 = "map16"
"""The name of the format."""

FOLDER = "maps"
_VERSION = 1
_LARGEST_EXPONENT = 15
"""float16 ends below 2**16."""

_LEAST_EXPONENT = -126
"""Of a scale: float32 has no smaller normal number."""


def zarr_or_refuse() -> ModuleType:
    """The package zarr.

    Raises:
        OptionError: it is not installed.
    """
    return needed("zarr", f"The format {MAP16}")


@dataclass(frozen=True, eq=False)
class KeptMap:
    """A map, and what is needed to draw it: the facts are in JSON types."""

    values: FloatArray
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, explanation: MapData) -> KeptMap:
        """The map of an explanation."""
        counts = {
            name: count
            for name, count in explanation.diagnostics.items()
            if name.endswith("_passes")
        }
        facts = {
            "method": explanation.method,
            "layers": list(explanation.layers),
            "passes": plain(counts),
            "score_kind": explanation.score_kind,
            "target": _target_facts(explanation.target),
        }
        return cls(np.asarray(explanation.values, np.float32), facts)


def scaled(values: FloatArray) -> tuple[Array, np.float32]:
    """A map as float16, and the power of 2 by which it is multiplied to get the values back.

    The largest value is near the end of float16, so that small ones keep their digits, and none
    becomes infinite.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return values.astype(np.float16), np.float32(1)
    exponent = max(int(np.frexp(largest)[1]) - _LARGEST_EXPONENT, _LEAST_EXPONENT)
    scale = np.float32(2.0**exponent)
    return (values / scale).astype(np.float16), scale


def write_maps(
    folder: Path, unfinished: Path, prefix: str, first: int, maps: Sequence[KeptMap]
) -> list[MapPlace]:
    """Write maps to new shards below a folder, one for consecutive maps of one shape.

    Each shard appears complete: it is made in `unfinished`, and then renamed. Shards are numbered
    from `first` on, and begin with `prefix`.

    Raises:
        OutputError: the system refused to write.
    """
    places: list[MapPlace] = []
    for _, group in groupby(maps, key=lambda one: one.values.shape):
        some = list(group)
        name = f"{FOLDER}/{prefix}{first:05d}.zarr"
        aside = unfinished / f"{secrets.token_hex(8)}.zarr"
        try:
            _write_shard(aside, some)
            (folder / FOLDER).mkdir(exist_ok=True)
            aside.rename(folder / name)
        except OSError as error:
            raise refused(folder, error) from error
        places += [MapPlace(name, row) for row in range(len(some))]
        first += 1
    return places


def _write_shard(path: Path, maps: Sequence[KeptMap]) -> None:
    halves, scales = zip(*(scaled(one.values) for one in maps), strict=True)
    shared = maps[0].facts
    own = [{k: v for k, v in one.facts.items() if v != shared.get(k)} for one in maps]
    attributes = {"onnxplain": {"maps": _VERSION}, "shared": shared, "rows": own}
    group = zarr_or_refuse().create_group(store=str(path), attributes=attributes)
    for name, array in (("values", np.stack(halves)), ("scale", np.array(scales, np.float32))):
        group.create_array(name, data=array, chunks=array.shape)


def next_number(folder: Path, prefix: str) -> int:
    """The number of the next shard with this prefix."""
    names = [path.stem.removeprefix(prefix) for path in (folder / FOLDER).glob(f"{prefix}*.zarr")]
    return 1 + max((int(name) for name in names if name.isdigit()), default=-1)


class MapReader:
    """Reads maps of the format map16; the shard that was read last is kept."""

    def __init__(self, folder: Path) -> None:
        """Read maps below a folder of results."""
        self._folder = folder
        self._shard: tuple[str, FloatArray, Sequence[Mapping[str, Any]]] | None = None

    def read(self, place: MapPlace) -> KeptMap:
        """The map at a place.

        Raises:
            ResultsError: there is no such shard or row, or it is damaged.
            OptionError: zarr is not installed.
        """
        if self._shard is None or self._shard[0] != place.shard:
            self._shard = (place.shard, *self._opened(place.shard))
        _, values, facts = self._shard
        if not 0 <= place.row < len(values):
            raise ResultsError(
                f"{self._folder / place.shard} has {len(values)} maps, and no row {place.row}."
            )
        return KeptMap(values[place.row], facts[place.row])

    def _opened(self, shard: str) -> tuple[FloatArray, Sequence[Mapping[str, Any]]]:
        zarr = zarr_or_refuse()
        path = self._folder / shard
        if not is_inside(path, self._folder / "index.jsonl") or not path.is_dir():
            raise ResultsError(f"There are no maps in {path}: they were moved or deleted.")
        try:
            group = zarr.open_group(str(path), mode="r")
            halves, scale = (np.asarray(group[name]) for name in ("values", "scale"))
            shared, rows = group.attrs["shared"], group.attrs["rows"]
            facts = [{**shared, **own} for own in rows]
            values = halves.astype(np.float32) * scale.reshape(-1, *[1] * (halves.ndim - 1))
            if not len(values) == len(facts) == len(scale):
                raise ValueError("its parts differ in length")
        except Exception as error:  # zarr raises errors of many kinds for damaged files
            raise ResultsError(f"{path} cannot be read: {error}.") from error
        return values, facts


def _target_facts(target: ExplainedTarget) -> dict[str, Any]:
    """The fields of a target that differ from their defaults."""
    default = asdict(ExplainedTarget(""))
    facts = {name: value for name, value in asdict(target).items() if value != default[name]}
    return dict(plain(facts))


def target_of(facts: Mapping[str, Any]) -> ExplainedTarget:
    """The target that `KeptMap.facts` describes.

    Raises:
        ResultsError: they describe none.
    """
    given = dict(facts)
    try:
        for name, kind in (("region", ExplainedRegion), ("read", ExplainedText)):
            if given.get(name) is not None:
                given[name] = kind(**{k: _tupled(v) for k, v in given[name].items()})
        given["boxes"] = tuple(ExplainedBox(**box) for box in given.get("boxes", ()))
        given["references"] = tuple(_reference(one) for one in given.get("references", ()))
        return ExplainedTarget(**given)
    except (TypeError, KeyError) as error:
        raise ResultsError(f"A map has a target that is not known: {error}.") from error


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _reference(facts: Mapping[str, Any]) -> ExplainedReference:
    path, model = facts.get("path"), facts.get("text_model")
    return ExplainedReference(
        None if path is None else Path(path),
        facts["elements"],
        facts.get("text"),
        None if model is None else Path(model),
    )
