"""The records of a job: one for each result, as a line of its index."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from onnxplain.errors import ResultsError


@dataclass(frozen=True)
class MapPlace:
    """Where a map of the format map16 is: its shard, a path below the folder, and its row there."""

    shard: str
    row: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """What an index knows of one result: of one input and target, or of an input that failed.

    Attributes:
        id: the path of the input below the folder that was given, without its ending; after a
            colon the target, if there are several. No other record has it.
        input: the address of the input.
        sha256: of its bytes, in hexadecimal; None if it could not be read.
        label: the name of its true class, if it is known.
        target: what was explained, such as "282_tiger_cat"; None if `error` is set.
        class_index: the index of the explained class; None if the target is not a class.
        class_name: its full label.
        predicted: the class with the largest score; None if the answer has no classes.
        output: the output that was named to be explained; None if none was.
        score: that of the target; None if it is not finite, or no target was requested.
        score_kind: such as "logit".
        files: paths below the folder.
        map: the place of a map in the format map16; None for other formats.
        size: (rows, columns) of the picture, or the places of an array.
        seconds: the time since the result before this one; those of a run add up to its time.
        warnings: sentences about the map.
        error: why there is no result; None if there is one.
        tries: how often the input was tried.
        part: which of the lines of its input this is, from 1, and how many lines it has.
    """

    id: str
    input: str
    sha256: str | None = None
    label: str | None = None
    target: str | None = None
    class_index: int | None = None
    class_name: str | None = None
    predicted: int | None = None
    output: str | None = None
    score: float | None = None
    score_kind: str | None = None
    files: tuple[str, ...] = ()
    map: MapPlace | None = None
    size: tuple[int, ...] | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    tries: int = 1
    part: tuple[int, int] = (1, 1)

    @property
    def input_id(self) -> str:
        """The id without the target."""
        return self.id.split(SEPARATOR, 1)[0]

    @property
    def is_last_part(self) -> bool:
        """Whether no more lines of its input follow."""
        return self.part[0] == self.part[1]

    def as_line(self) -> bytes:
        """A line of JSON, in ASCII."""
        facts = asdict(self)
        if self.score is not None and not math.isfinite(self.score):
            facts["score"] = None
        return f"{json.dumps(facts, allow_nan=False)}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> Record:
        """Read what `as_line` wrote; keys that are not known are left out.

        Raises:
            ResultsError: it is no such line.
        """
        try:
            facts = json.loads(line)
            if not isinstance(facts, dict):
                raise TypeError
            return cls.from_facts(facts)
        except (ValueError, TypeError, KeyError):
            raise ResultsError(f"This is no line of an index: {line[:60]!r}.") from None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Record:
        """The record with these values of its fields, in JSON types."""
        known = {name: facts[name] for name in _NAMES if name in facts}
        place = known.get("map")
        known["map"] = None if place is None else MapPlace(place["shard"], int(place["row"]))
        for name in _TUPLES:
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        return cls(**known)


SEPARATOR = ":"
"""Between the id of an input and a target; no safe name has it."""

_NAMES: Sequence[str] = [field.name for field in fields(Record)]
_TUPLES = "files", "size", "warnings", "part"
