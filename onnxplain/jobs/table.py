"""The records of an index as a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from onnxplain.jobs.extras import needed
from onnxplain.jobs.records import Record
from onnxplain.jobs.results import latest
from onnxplain.results.formats.write import refused

_ROWS = 10_000
"""Of a row group, so that memory does not grow with the index."""


def can_write_tables() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def write_table(index: Path, unfinished: Path) -> Path:
    """Write the records that count of an index file next to it; return the path.

    The file appears complete: it is written to the folder `unfinished`, and then renamed.

    Raises:
        OptionError: pyarrow is not installed.
        OutputError: the system refused to write.
    """
    parquet = needed("pyarrow.parquet", "A table of the index")
    schema = _schema()
    path, aside = index.with_suffix(".parquet"), unfinished / "index.parquet"
    records = latest([index])
    try:
        with parquet.ParquetWriter(aside, schema) as writer:
            while rows := [_row(record) for record in islice(records, _ROWS)]:
                writer.write_table(_table(rows, schema))
        aside.replace(path)
    except OSError as error:
        raise refused(index.parent, error) from error
    return path


def read_table(path: Path) -> Iterator[Record]:
    """The records that `write_table` wrote."""
    parquet = needed("pyarrow.parquet", "Reading a table of an index")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from map(Record.from_facts, batch.to_pylist())


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    return needed("pyarrow", "A table of the index").Table.from_pylist(rows, schema=schema)


def _row(record: Record) -> dict[str, Any]:
    """The values of a record; what UTF-8 cannot hold, such as odd names of files, is escaped."""
    return {name: _valid(value) for name, value in asdict(record).items()}


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, tuple):
        return [_valid(one) for one in value]
    return value


def _schema() -> Any:
    arrow = needed("pyarrow", "A table of the index")
    text, whole, real = arrow.string(), arrow.int32(), arrow.float64()
    kinds = {
        "id": text,
        "input": text,
        "sha256": text,
        "label": text,
        "target": text,
        "class_index": whole,
        "class_name": text,
        "predicted": whole,
        "output": text,
        "score": real,
        "score_kind": text,
        "files": arrow.list_(text),
        "map": arrow.struct([("shard", text), ("row", whole)]),
        "size": arrow.list_(whole),
        "seconds": real,
        "warnings": arrow.list_(text),
        "error": text,
        "tries": whole,
        "part": arrow.list_(whole),
    }
    return arrow.schema(list(kinds.items()))
