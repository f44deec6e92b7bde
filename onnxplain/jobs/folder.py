"""The folder of a job: its description, its index, and which inputs are done."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxplain.errors import OutputError, ResultsError
from onnxplain.jobs.archives import INSIDE
from onnxplain.jobs.description import (
    JOB,
    check_same,
    is_auto,
    method_of,
    read_description,
    write_description,
)
from onnxplain.jobs.inputs import InputImage, uniquely_named
from onnxplain.jobs.job import Outcome
from onnxplain.jobs.maps import KeptMap, next_number, write_maps
from onnxplain.jobs.records import SEPARATOR, MapPlace, Record
from onnxplain.jobs.results import index_files, read_lines
from onnxplain.jobs.shards import Shard
from onnxplain.jobs.table import can_write_tables, write_table
from onnxplain.results.data import ExplanationData, MapData
from onnxplain.results.formats.write import SameFolder, refused, try_lock

_MOST_MAPS = 1024
_MOST_BYTES = 1 << 26
_MOST_SECONDS = 30.0
"""A shard of maps is written when it has so many maps, they take so much memory, or wait so long.

Until then they are lost if the process is killed."""


@dataclass(frozen=True)
class Past:
    """What an index says about an input: its id, how often it was tried, and how that ended.

    `done` is whether all of its files are there, and are not older than the input.
    """

    id: str
    tries: int
    failed: bool
    done: bool


@dataclass
class Counts:
    """How many inputs were skipped because they were done, or because they failed, in a run."""

    done: int = 0
    failed: int = 0


class JobFolder:
    """The folder that a run writes to, as a context manager: it is locked for other runs.

    Raises:
        ResultsError: the folder holds another job, or another run writes to it.
        OutputError: the system refused to write.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], shard: Shard | None) -> None:
        """Go on with the job of the folder, if there is one; `facts` are those of this run."""
        self.path = folder
        self._asked = facts
        self.skipped = Counts()
        self._prefix = "" if shard is None else f"{shard.name}-"
        self.index = folder / f"index{'' if shard is None else f'-{shard.name}'}.jsonl"
        self.unfinished = folder / f".unfinished{'' if shard is None else f'-{shard.name}'}"
        self._is_new = not folder.exists()
        self._past: dict[tuple[str, str | None], Past] = {}
        self._descriptor: int | None = None
        self._same = SameFolder(folder)
        self._read_description()

    def __enter__(self) -> JobFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._locked_index()
            self._same.check()
            # Another run may have ended since the folder was first looked at.
            self._read_description()
            shutil.rmtree(self.unfinished, ignore_errors=True)
            self.unfinished.mkdir(exist_ok=True)
            self._read_past()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise refused(self.path, error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the lock, and leave nothing where nothing was recorded."""
        if self._descriptor is None:
            return
        shutil.rmtree(self.unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):
            if not self.index.stat().st_size:
                self.index.unlink()
            if self._is_new:
                self.path.rmdir()  # which fails where files are in it
        os.close(self._descriptor)
        self._descriptor = None

    def _read_description(self) -> None:
        """Take over the description of the job of the folder, if there is one."""
        before = read_description(self.path)
        if before is None and any(path.stat().st_size for path in index_files(self.path)):
            raise ResultsError(
                f"{self.path} has an index but no {JOB}: name another --out, or add --no-resume."
            )
        if before is not None:
            check_same(self.path, before, self._asked)
        self.facts: dict[str, Any] = dict(self._asked if before is None else before)
        self._is_described = before is not None

    def _locked_index(self) -> int:
        """Open the index and lock it; the result is its descriptor."""
        while True:
            descriptor = os.open(self.index, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if not try_lock(descriptor):
                os.close(descriptor)
                raise ResultsError(
                    f"Another run is writing to {self.path}: wait until it ends, or name another "
                    "--out."
                )
            # A run that recorded nothing has removed its index when it ended.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self.index.stat()):
                    return descriptor
            os.close(descriptor)

    def method_for(self, output: str | None, default: str) -> str:
        """The method of an output; where "auto" was asked, that of earlier runs, else `default`."""
        if not is_auto(self.facts):
            return default
        return method_of(self.facts, output) or default

    def note_method(self, output: str | None, method: str) -> None:
        """Keep which method explains an output; it is written before its first record."""
        if method_of(self.facts, output) != method:
            self.facts["explained_by"] = self.facts["explained_by"] | {output or "": method}
            self._is_described = False

    def finish(self) -> None:
        """Write the records as a table, where pyarrow is installed and there are new ones.

        Raises:
            OutputError: the system refused to write.
        """
        table = self.index.with_suffix(".parquet")
        with self._noticing_removal():
            if can_write_tables() and not table.exists() and self.index.stat().st_size:
                write_table(self.index, self.unfinished)

    def named(self, images: Iterable[InputImage]) -> list[InputImage]:
        """The inputs with the ids that they have in the index; new ones get other ids."""
        ids = {address: past.id for (address, _), past in self._past.items()}
        return uniquely_named(images, ids)

    def todo(
        self, images: Iterable[InputImage], output: str | None, retry_failed: bool = False
    ) -> Iterator[InputImage]:
        """The inputs that are not done, and count the others.

        Those that failed before are done, unless `retry_failed`.
        """
        for image in images:
            past = self._past.get((image.address, output))
            if past is None or not past.done or (past.failed and retry_failed):
                yield image
            elif past.failed:
                self.skipped.failed += 1
            else:
                self.skipped.done += 1

    def recorded(self, outcomes: Iterable[Outcome], output: str | None) -> Iterator[Outcome]:
        """The same outcomes, each after its records are in the index; maps are written before.

        If this ends early, what has arrived is recorded.
        """
        batch = _Batch()
        with self._noticing_removal():
            try:
                for outcome in outcomes:
                    batch.add(outcome)
                    if batch.is_full:
                        full, batch = batch, _Batch()
                        yield from self._record(full, output)
            finally:
                done = self._record(batch, output)
        yield from done

    def _record(self, batch: _Batch, output: str | None) -> list[Outcome]:
        """Write the maps of a batch, then the lines of its outcomes."""
        if not batch.outcomes:
            return []
        numbered = next_number(self.path, self._prefix) if batch.maps else 0
        places = iter(write_maps(self.path, self.unfinished, self._prefix, numbered, batch.maps))
        lines, outcomes = [], []
        for outcome, seconds in batch.outcomes:
            kept = [next(places) for _ in outcome.maps]
            past = self._past.get((outcome.image.address, output))
            tries = 1 if past is None else past.tries + 1
            records = records_of(outcome, kept, self.path, output, seconds, tries)
            lines += [record.as_line() for record in records]
            outcomes.append(replace(outcome, places=kept))
        self._append(b"".join(lines))
        return outcomes

    @contextlib.contextmanager
    def _noticing_removal(self) -> Iterator[None]:
        """Say that the folder was removed, where that is why something cannot be written."""
        try:
            yield
        except (OutputError, FileNotFoundError):
            self._same.check()
            raise

    def _append(self, lines: bytes) -> None:
        assert self._descriptor is not None, "the folder is not open"
        if not self._is_described:
            # Only now: a run that is refused leaves no job with which the next one would differ.
            write_description(self.path, self.facts)
            self._is_described = True
        self.index.with_suffix(".parquet").unlink(missing_ok=True)
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise refused(self.path, error) from error

    def _read_past(self) -> None:
        """Read the index, and cut off the lines of an input that was not recorded completely."""
        complete = 0
        parts: list[Record] = []
        for record, end in read_lines(self.index):
            parts = [*parts, record] if record.part[0] == len(parts) + 1 else [record]
            if record.is_last_part:
                complete = end
                self._past[record.input, record.output] = self._past_of(parts)
                parts = []
        if complete < self.index.stat().st_size:
            os.truncate(self.index, complete)

    def _past_of(self, parts: Sequence[Record]) -> Past:
        first = parts[0]
        failed = any(record.error is not None for record in parts)
        files = [self.path / name for record in parts for name in record.files]
        files += [self.path / record.map.shard for record in parts if record.map is not None]
        picture = Path(first.input.partition(INSIDE)[0])
        return Past(first.input_id, first.tries, failed, _are_fresh(files, picture))


@dataclass
class _Batch:
    """Outcomes that are recorded together, each with its seconds; `since` is when it began."""

    since: float = field(default_factory=time.perf_counter)
    outcomes: list[tuple[Outcome, float]] = field(default_factory=list)
    maps: list[KeptMap] = field(default_factory=list)
    _bytes: int = 0
    _last: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Add the next outcome."""
        now = time.perf_counter()
        self.outcomes.append((outcome, now - max(self.since, self._last)))
        self.maps += outcome.maps
        self._last = now
        self._bytes += sum(_bytes_of(one) for one, _ in outcome.saved)

    @property
    def is_full(self) -> bool:
        """Whether it is to be recorded now; without maps to collect, it is after one outcome."""
        return (
            not self.maps
            or len(self.maps) >= _MOST_MAPS
            or self._bytes >= _MOST_BYTES
            or self._last - self.since >= _MOST_SECONDS
        )


def _bytes_of(data: MapData) -> int:
    """How much memory an explanation takes."""
    drawn = (data.heatmap, data.picture) if isinstance(data, ExplanationData) else ()
    return sum(array.nbytes for array in (data.values, *drawn))


def _are_fresh(files: Sequence[Path], picture: Path) -> bool:
    """Whether files are there, and a picture was not changed after them."""
    try:
        times = [path.stat().st_mtime_ns for path in files]
    except OSError:
        return False
    with contextlib.suppress(OSError, ValueError):
        return not times or picture.stat().st_mtime_ns <= max(times)
    return True


def records_of(
    outcome: Outcome,
    maps: Sequence[MapPlace],
    folder: Path,
    output: str | None,
    seconds: float,
    tries: int,
) -> list[Record]:
    """The records of an input: one for each explanation, and one for what failed."""
    image, found, empty = outcome.image, outcome.saved, outcome.empty
    several = len(found) + len(empty) > 1 or output is not None
    lines = len(found) + bool(empty or outcome.error)
    common = Record(
        id=image.id,
        input=image.address,
        sha256=image.sha256,
        label=image.label,
        output=output,
        seconds=seconds / lines,
        tries=tries,
    )
    records = []
    places = iter(maps)
    for number, (explanation, files) in enumerate(found, start=1):
        name = explanation.target.file_name if several else ""
        own = _facts(explanation) | {"map": next(places, None), "part": (number, lines)}
        paths = tuple(path.relative_to(folder).as_posix() for path in files)
        id_ = f"{image.id}{SEPARATOR}{name}" if name else image.id
        records.append(replace(common, id=id_, files=paths, **own))
    if len(records) < lines:
        errors = list(empty) if outcome.error is None else [outcome.error]
        error = " ".join(map(str, errors))
        records.append(replace(common, error=error, part=(lines, lines)))
    return records


def _facts(explanation: MapData) -> dict[str, Any]:
    """The fields of a record that an explanation knows."""
    target = explanation.target
    return {
        "target": target.name,
        "class_index": target.index,
        "class_name": target.label,
        "predicted": explanation.predicted,
        "score": explanation.score,
        "score_kind": explanation.score_kind,
        "size": explanation.size,
        "warnings": tuple(map(str, explanation.diagnostics.get("warnings", ()))),
    }
