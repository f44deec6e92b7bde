"""Pictures in archives: WebDataset's tar files, and a column of Parquet files.

What is in an archive may come from anybody: sizes are limited, only regular files are read, and
names cannot leave the folder of the results.
"""

from __future__ import annotations

import json
import re
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from onnxplain.errors import OnnxplainError, PictureError
from onnxplain.images.picture import SUFFIXES
from onnxplain.jobs.addresses import MOST_BYTES, opened, suffix_of
from onnxplain.jobs.extras import needed

TARS = frozenset({".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"})
PARQUET = ".parquet"
INSIDE = "::"
"""Between the address of an archive and what is in it."""

_LABEL_SUFFIXES = frozenset({".cls", ".txt"})
_MOST_LABEL_BYTES = 4096
_ROWS = 16
"""Of a Parquet file that are in memory at the same time."""


@dataclass(frozen=True, eq=False)
class Member:
    """A picture in an archive.

    Attributes:
        address: that of the archive, and what the picture is called there.
        name: its path in the archive, without its ending.
        read: returns its content.
        label: its class; None if it is not known.
    """

    address: str
    name: PurePosixPath
    read: Callable[[], bytes]
    label: str | None = None


@dataclass(frozen=True)
class _Archive(ABC):
    """A file of many pictures, at an address."""

    address: str

    def __iter__(self) -> Iterator[Member]:
        """The pictures in order; a damaged archive ends with one that cannot be read."""
        try:
            with opened(self.address) as file:
                yield from self._members(file)
        except PictureError as error:
            yield _broken(self.address, error)

    @abstractmethod
    def _members(self, file: IO[bytes]) -> Iterator[Member]:
        """The pictures in an opened archive; PictureError where it is damaged."""


@dataclass(frozen=True)
class Tar(_Archive):
    """A tar file in which the files of a sample follow each other, and differ in their ending.

    `cat/7.jpg` is a picture, `cat/7.cls` its class, see https://github.com/webdataset/webdataset.
    """

    def _members(self, file: IO[bytes]) -> Iterator[Member]:
        sample, pictures, label = "", list[tuple[str, bytes | PictureError]](), None
        counted = _Counted(file)
        with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|*") as tar:
            for entry in tar:
                if not entry.isreg():
                    continue
                key, ending = _parted(entry.name)
                if key != sample:
                    yield from self._of_sample(sample, pictures, label)
                    sample, pictures, label = key, [], None
                if ending in _LABEL_SUFFIXES and entry.size <= _MOST_LABEL_BYTES:
                    label = _content(tar, entry).decode(errors="replace").strip() or None
                elif _is_picture(ending):
                    pictures.append((entry.name, self._picture(tar, entry)))
        yield from self._of_sample(sample, pictures, label)
        if suffix_of(self.address) == ".tar" and counted.count % tarfile.BLOCKSIZE:
            raise PictureError(f"{self.address} cannot be read to its end: it is cut short.")

    def _picture(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | PictureError:
        if entry.size > MOST_BYTES:
            return PictureError(
                f"{self.address}{INSIDE}{entry.name} has more than {MOST_BYTES:,} bytes."
            )
        return _content(tar, entry)

    def _of_sample(
        self, key: str, pictures: list[tuple[str, bytes | PictureError]], label: str | None
    ) -> Iterator[Member]:
        """Its pictures; several are told apart by their endings."""
        for name, content in pictures:
            own = name if len(pictures) > 1 else key
            read = _raising(content) if isinstance(content, PictureError) else _once(content)
            yield Member(f"{self.address}{INSIDE}{name}", PurePosixPath(own), read, label)


@dataclass(frozen=True)
class Parquet(_Archive):
    """A column of a Parquet file: the bytes of pictures, or structs with `bytes`.

    The structs are those of Hugging Face's data sets. A column `label` holds the classes, as texts
    or as numbers, whose names Hugging Face keeps in the file. Without a `column` the only one that
    can be of pictures is taken.
    """

    column: str | None = None

    def _members(self, file: IO[bytes]) -> Iterator[Member]:
        parquet = needed("pyarrow.parquet", f"Reading {self.address}").ParquetFile(file)
        schema = parquet.schema_arrow
        column = self._column(schema)
        labels = _label_names(schema)
        columns = [column, *(["label"] if labels is not None and column != "label" else [])]
        row = 0
        for batch in parquet.iter_batches(_ROWS, columns=columns):
            for values in batch.to_pylist():
                address = f"{self.address}{INSIDE}{column}[{row}]"
                name = PurePosixPath(f"{row:06d}")
                read = _of_cell(values[column], address)
                label = None if labels is None else _named(values.get("label"), labels)
                yield Member(address, name, read, label)
                row += 1

    def _column(self, schema: Any) -> str:
        """The name of the column of pictures.

        Raises:
            PictureError: there is no such column, or none or several that may hold pictures.
        """
        kinds = {one.name: str(one.type) for one in schema}
        if self.column is not None:
            if self.column in kinds:
                return self.column
            raise PictureError(
                f"{self.address} has no column {self.column!r}; it has {', '.join(kinds)}."
            )
        fitting = [name for name, kind in kinds.items() if _PICTURES.match(kind)]
        if len(fitting) != 1:
            raise PictureError(
                f"{self.address} has {len(fitting)} columns that may hold pictures: name one of "
                f"{', '.join(fitting or kinds)}, as in {self.address}{INSIDE}NAME."
            )
        return str(fitting[0])


Archive = Tar | Parquet

_PICTURES = re.compile(r"(large_)?binary$|struct<.*bytes: (large_)?binary")
"""Types of columns that may hold the content of pictures."""


def archive_of(text: str) -> Archive | None:
    """The archive that a path or an address means; None if it means none."""
    address, _, column = text.partition(PARQUET + INSIDE)
    if column:
        return Parquet(address + PARQUET, column)
    if suffix_of(text) == PARQUET:
        return Parquet(text)
    return Tar(text) if suffix_of(text) in TARS else None


def read_member(address: str) -> bytes:
    """The content of a picture in an archive, by its address; the archive is searched for it.

    Raises:
        PictureError: there is no such picture, or it cannot be read.
        OptionError: a package that is needed is not installed.
    """
    file, _, inside = address.partition(INSIDE)
    column = inside.rpartition("[")[0] or None
    archive = Parquet(file, column) if suffix_of(file) == PARQUET else Tar(file)
    for member in archive:
        if member.address in (address, file):
            return member.read()
    raise PictureError(f"There is no {inside} in {file}.")


class _Counted:
    """Counts what is read of a file: tarfile takes one that ends inside a header for complete."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int) -> bytes:
        """Read as from the file."""
        content = self._file.read(size)
        self.count += len(content)
        return content


def _parted(name: str) -> tuple[str, str]:
    """The name of a sample and the ending of one of its files: up to the first dot, and the last.

    The sample of "a/b.seg.png" is "a/b", as in WebDataset.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, endings = base.partition(".")
    return f"{folder}{slash}{stem}", f".{endings.rpartition('.')[2].lower()}"


def _is_picture(ending: str) -> bool:
    return ending in SUFFIXES


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    content = b"" if file is None else file.read()
    if len(content) < entry.size:
        raise PictureError(f"{entry.name} is cut short.")
    return content


def _of_cell(value: Any, address: str) -> Callable[[], bytes]:
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes):
        return _raising(PictureError(f"{address} holds no bytes of a picture."))
    if len(content) > MOST_BYTES:
        return _raising(PictureError(f"{address} has more than {MOST_BYTES:,} bytes."))
    return _once(content)


def _once(content: bytes) -> Callable[[], bytes]:
    """Return the content once, and forget it: what was read may wait long to be recorded."""
    held = [content]
    return held.pop


def _raising(error: OnnxplainError) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read


def _broken(address: str, error: OnnxplainError) -> Member:
    """In place of the pictures that could not be read."""
    return Member(address, PurePosixPath("unreadable"), _raising(error))


def _label_names(schema: Any) -> list[str] | None:
    """The names of classes by their number, as Hugging Face writes them.

    Empty if there are none; None if there is no column of labels.
    """
    if "label" not in schema.names:
        return None
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in facts["info"]["features"]["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _named(label: Any, names: list[str]) -> str | None:
    if isinstance(label, int) and 0 <= label < len(names):
        return names[label]
    return None if label is None else str(label)
