"""Reading what a job left in its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.errors import OnnxplainError, ResultsError, attempted
from onnxplain.images.array_files import read_npy
from onnxplain.jobs.description import JOB, read_description
from onnxplain.jobs.maps import KeptMap, MapReader
from onnxplain.jobs.records import Record
from onnxplain.jobs.redraw import explanation_again
from onnxplain.methods.base import Method
from onnxplain.methods.registry import make_method
from onnxplain.regular_files import is_inside
from onnxplain.results.explanation import Explanation
from onnxplain.tensors import FloatArray

INDEX = "index*.jsonl"
"""Names of index files: one, or one for each shard of a job."""


class Results:
    """The records of a folder that `onnxplain run` wrote, and their maps.

    Iterating yields a `Record` for each result, in the order of the index. Of an input that was
    tried several times, only the last try counts; a last line that was not written completely is
    left out. With `job` come the facts of `job.json`.

    Raises:
        ResultsError: the folder holds no job, or its files are damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read from the folder, or from an index file in it."""
        given = Path(folder)
        self.folder = given.parent if given.suffix == ".jsonl" or given.name == JOB else given
        job = read_description(self.folder)
        if job is None:
            raise ResultsError(
                f"{self.folder} holds no job: name the folder that `onnxplain run` wrote for a "
                "folder or a pattern."
            )
        self.job: Mapping[str, Any] = job
        self._maps = MapReader(self.folder)
        self._methods: dict[str, Method] = {}

    def __iter__(self) -> Iterator[Record]:
        return latest(index_files(self.folder))

    def record(self, id_: str) -> Record:
        """The record with an id, or the only one of the input with this id.

        Raises:
            ResultsError: there is none, or there are several.
        """
        found = [one for one in self if id_ in (one.id, one.input_id, one.input)]
        exact = [one for one in found if one.id == id_] or found
        if len(exact) == 1:
            return exact[0]
        if exact:
            ids = ", ".join(one.id for one in exact)
            raise ResultsError(f"{id_} has {len(exact)} results, so name one of them: {ids}.")
        raise ResultsError(f"{self.folder} has no result {id_!r}; its index holds the ids.")

    def maps(self, records: Iterable[Record]) -> list[FloatArray]:
        """The map of each record, (rows, columns) float32 at its own grid; signed, never rescaled.

        Of an array it is the map over its places, of a method for the input's channels the one
        number for each place that is drawn.

        Raises:
            ResultsError: a record has no map, or its files are missing or damaged.
            OptionError: a map is in the format map16, and zarr is not installed.
        """
        return [self._heat(record) for record in records]

    def values(self, record: Record) -> FloatArray:
        """What the method computed, float32; see `Explanation.values`.

        Raises:
            ResultsError: as `maps`.
            OptionError: as `maps`.
        """
        if record.map is not None:
            return self._maps.read(record.map).values
        (path, *_) = [*filter(_holds_values, record.files), None]
        if path is None:
            raise ResultsError(
                f"{record.id} has no map: {record.error or 'run again with --format npy or map16.'}"
            )
        found = attempted(read_npy, self.inside(path))
        if isinstance(found, OnnxplainError):
            raise ResultsError(str(found))
        return np.array(found, np.float32)

    def explanation(self, record: Record) -> Explanation:
        """The explanation of a record, made again from its map in the format map16 and its picture.

        Its drawing is the one that `run` saved, up to the precision of float16. What the index does
        not keep is empty, such as the provider.

        Raises:
            ResultsError: the record has no such map, or it is that of an array, or the picture is
                missing or was changed.
            OptionError: zarr is not installed.
        """
        return explanation_again(self, record)

    def kept(self, record: Record) -> KeptMap:
        """The map of a record in the format map16, with its facts.

        Raises:
            ResultsError: it has none, or its shard is missing or damaged.
            OptionError: zarr is not installed.
        """
        if record.map is None:
            raise ResultsError(
                f"{record.id} has no map in the format map16: "
                f"{record.error or 'run the job with --format map16.'}"
            )
        return self._maps.read(record.map)

    def inside(self, name: str) -> Path:
        """The path of a file that a record names.

        Raises:
            ResultsError: it is outside of the folder.
        """
        path = self.folder / name
        if not is_inside(path, self.folder / JOB):
            raise ResultsError(f"{name} is not in the folder {self.folder}.")
        return path

    def method_of(self, record: Record) -> Method:
        """The method of a record, with the options of the job as far as they are plain values."""
        named = self.job["method"]
        name = str(self.job["explained_by"].get(record.output or "", named))
        if name not in self._methods:
            given = {k: v for k, v in self.job["options"].items() if not isinstance(v, dict)}
            found = attempted(make_method, name, given)
            self._methods[name] = make_method(name, {}) if isinstance(found, Exception) else found
        return self._methods[name]

    def _heat(self, record: Record) -> FloatArray:
        spatial = tuple(self.job["spatial"])
        return np.asarray(self.method_of(record).heat(self.values(record), spatial), np.float32)


def _holds_values(name: str) -> bool:
    return name.endswith(".npy") and not name.endswith(".heatmap.npy")


def index_files(folder: Path) -> list[Path]:
    """The index files of a folder, in order."""
    return sorted(folder.glob(INDEX))


def read_lines(path: Path) -> Iterator[tuple[Record, int]]:
    """The records of an index file, and the number of bytes up to the end of each.

    A last line that is not complete is left out.

    Raises:
        ResultsError: a line is damaged, or the file cannot be read.
    """
    end = 0
    try:
        with path.open("rb") as file:
            for line in file:
                end += len(line)
                if line.endswith(b"\n"):
                    yield Record.from_line(line), end
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}.") from error


def latest(paths: Sequence[Path]) -> Iterator[Record]:
    """The records of index files that count: of each input those of its last try."""
    last: dict[tuple[str, str | None], tuple[int, int]] = {}
    for file, number, record in _numbered(paths):
        if record.part[0] == 1:
            last[record.input_id, record.output] = file, number
    for file, number, record in _numbered(paths):
        begun_at = file, number - record.part[0] + 1
        if last.get((record.input_id, record.output)) == begun_at:
            yield record


def _numbered(paths: Iterable[Path]) -> Iterator[tuple[int, int, Record]]:
    """Each record with the numbers of its file and of its line."""
    for file, path in enumerate(paths):
        for number, (record, _) in enumerate(read_lines(path)):
            yield file, number, record
