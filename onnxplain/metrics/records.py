"""The file of an evaluation: a line of JSON for each input, method and metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxplain.errors import OptionError, OutputError
from onnxplain.results.formats.manifest import plain

Key = tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """One value, or the reason why there is none.

    Attributes:
        model: sha256 of the model.
        input: the file, and which of its samples.
        content: sha256 of the file.
        target: as it was asked for.
        explained: what it meant.
        method: its name, or that of a reference map.
        method_options: every option.
        metric: its name.
        metric_options: every option.
        value: None if there is none.
        reason: why there is none; empty if there is one.
        map_cost: forward and backward passes and seconds of the map.
        metric_cost: the same of the metric, without the map.
        annotations: where the annotations are; empty if there are none.
    """

    model: str
    input: str
    content: str
    target: str
    explained: str
    method: str
    method_options: Mapping[str, Any]
    metric: str
    metric_options: Mapping[str, Any]
    value: float | None
    reason: str = ""
    map_cost: Mapping[str, float] = field(default_factory=dict)
    metric_cost: Mapping[str, float] = field(default_factory=dict)
    annotations: str = ""

    @property
    def key(self) -> Key:
        """Records with equal keys hold the same value."""
        options = self.method_options, self.metric_options
        words = (json.dumps(plain(own), sort_keys=True) for own in options)
        given = self.model, self.content, self.input, self.target, self.annotations
        return (*given, self.method, self.metric, *words)


class RecordFile:
    """The records of a file; new ones are appended, and a line that was cut off is dropped."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one.

        Raises:
            OptionError: it holds something else.
            OutputError: it cannot be read, or written to.
        """
        self.path = path
        self._known: dict[Key, Record] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            for number, line in enumerate(whole.splitlines(), start=1):
                record = self._parsed(line, number)
                self._known[record.key] = record
            if whole != data:
                with path.open("r+b") as cut:
                    cut.truncate(len(whole))
            self._file = path.open("ab")
        except OSError as error:
            raise OutputError(f"{path} cannot be used: {error.strerror or error}.") from error

    def _parsed(self, line: bytes, number: int) -> Record:
        try:
            return Record(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise OptionError(
                f"{self.path}, line {number}, is no record of an evaluation: name another folder "
                "with --out, or remove the file."
            ) from None

    def find(self, key: Key) -> Record | None:
        """The record with that key that holds a value; None if there is none."""
        record = self._known.get(key)
        return None if record is None or record.value is None else record

    def add(self, record: Record) -> None:
        """Append a record; one that only repeats a reason is not written again.

        Raises:
            OutputError: it cannot be written.
        """
        known = self._known.get(record.key)
        if known is not None and known.value is None and known.reason == record.reason:
            return
        try:
            self._file.write(json.dumps(asdict(record)).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror or error}."
            ) from error
        self._known[record.key] = record

    def __iter__(self) -> Iterator[Record]:
        return iter(self._known.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
