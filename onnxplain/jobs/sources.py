"""What a command line names: files, folders, patterns, lists, archives and addresses."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from onnxplain.errors import PictureError
from onnxplain.explainer import Explainer
from onnxplain.file_names import safe_name
from onnxplain.images.annotations import Objects, read_coco
from onnxplain.images.picture import SUFFIXES, is_pattern
from onnxplain.jobs.addresses import find_addresses, is_address, read_address, suffix_of
from onnxplain.jobs.archives import INSIDE, Archive, Member, archive_of
from onnxplain.jobs.inputs import (
    Content,
    InputImage,
    StoredImage,
    each_sample,
    find_inputs,
    uniquely_named,
)
from onnxplain.jobs.shards import Shard
from onnxplain.regular_files import is_there, read_regular
from onnxplain.results.names import UniqueNames

_LIST = "@"
_MOST_LIST_BYTES = 1 << 30
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_EXPANDED = 1_000_000
_DEEPEST = 16
"""Folders in an archive that are mirrored; a longer path would be too long for some systems."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a job: files by themselves, and those in archives, which are read in order.

    `archives` come with the name of the folder for their results.
    """

    files: Sequence[InputImage]
    archives: Sequence[tuple[str, Archive]] = field(default_factory=tuple)

    def __iter__(self) -> Iterator[InputImage]:
        return chain(self.files, *map(_in_archive, self.archives))

    @property
    def total(self) -> int | None:
        """How many there are; None if archives must be read to know it."""
        return None if self.archives else len(self.files)

    def each_sample(self, explainer: Explainer) -> Inputs:
        """The same inputs, with each sample of a .npy file that holds several by itself."""
        stored = [one for one in self.files if isinstance(one, StoredImage)]
        plain = [one for one in self.files if not isinstance(one, StoredImage)]
        return replace(self, files=[*each_sample(plain, explainer), *stored] if plain else stored)

    def share(self, shard: Shard | None) -> Inputs:
        """The inputs of a shard: of the files each by itself, of the archives each as a whole."""
        if shard is None:
            return self
        files = [one for i, one in enumerate(self.files) if shard.holds(i)]
        return Inputs(files, [one for i, one in enumerate(self.archives) if shard.holds(i)])


def find_all(images: Sequence[str], recursive: bool = False) -> Inputs:
    """The inputs that a command line names.

    A name is a file, a folder or a pattern, see `find_with_roots`; `@FILE`, a list of names, one a
    line; a tar file or a Parquet file, with `::COLUMN` after it or not; a COCO file, with
    `::FOLDER` of its pictures after it, if not its own; or an address that fsspec opens.
    `{000..015}` stands for all numbers of that range.

    Raises:
        PictureError: a name means no picture; of a list only that it cannot be read.
        OptionError: a package that is needed is not installed.
    """
    if not images:
        raise PictureError("No picture was given: name a file, a folder, or a pattern in quotes.")
    local: list[str] = []
    others: list[InputImage] = []
    archives: list[Archive] = []
    for name in (one for image in images for one in _expanded(image)):
        if name.startswith(_LIST) and not is_there(name):
            files, more = _listed(Path(name[1:]))
            others += files
            archives += more
        elif found := _archives(name):
            archives += found
        elif is_address(name):
            files, more = _at_address(name, recursive)
            others += files
            archives += more
        elif annotated := _coco(name):
            others += _of_coco(*annotated)
        else:
            local.append(name)
    files = [*find_inputs(local, recursive), *others] if local else others
    return Inputs(_titled(uniquely_named(files)), _named_archives(archives))


def names_a_set(given: str) -> bool:
    """Whether what a user gave names pictures without listing them one by one."""
    path = Path(given)
    several = given.startswith(_LIST) or is_address(given) or archive_of(given) is not None
    return several or _coco(given) is not None or path.is_dir() or is_pattern(path)


def _expanded(name: str) -> Iterator[str]:
    """The names that a range stands for; the name itself if it has none, or is a file."""
    found = None if is_there(name) else _RANGE.search(name)
    if found is None:
        yield name
        return
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= _MOST_EXPANDED:
        raise PictureError(f"{found[0]} in {name} stands for no number, or for too many.")
    for number in numbers:
        text = f"{number:0{len(first)}d}"
        yield from _expanded(name[: found.start()] + text + name[found.end() :])


def _archives(name: str) -> list[Archive]:
    """The archives that a name means; several for a pattern."""
    archive = archive_of(name)
    if archive is None:
        return []
    address = archive.address
    if is_address(address):
        found = [one for one, _ in find_addresses(address, recursive=False)]
    elif is_pattern(Path(address)):
        found = sorted(glob.glob(address, recursive=True))  # noqa: PTH207
    elif not is_there(address):
        raise PictureError(f"{address} does not exist.")
    else:
        found = [address]
    if not found:
        raise PictureError(f"Nothing matches {address}.")
    return [replace(archive, address=one) for one in found]


def _at_address(name: str, recursive: bool) -> tuple[list[InputImage], list[Archive]]:
    """The pictures and the archives of an address."""
    found = find_addresses(name, recursive)
    if len(found) == 1 and found[0][0] == name:
        return [_stored(name, PurePosixPath(found[0][1]))], []
    pictures: list[InputImage] = [
        _stored(address, PurePosixPath(below), with_label=True)
        for address, below in found
        if suffix_of(below) in SUFFIXES
    ]
    archives = [one for address, _ in found if (one := archive_of(address)) is not None]
    if not pictures and not archives:
        raise PictureError(f"There are no pictures at {name}.")
    return pictures, archives


def _listed(path: Path) -> tuple[list[InputImage], list[Archive]]:
    """The inputs of a list; a file that is missing is an input that fails."""
    try:
        lines = os.fsdecode(read_regular(path, _MOST_LIST_BYTES)).splitlines()
    except FileNotFoundError:
        raise PictureError(f"There is no list {path}.") from None
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}.") from error
    names = [name for line in lines if (given := line.strip()) for name in _expanded(given)]
    if not names:
        raise PictureError(f"The list {path} is empty.")
    archives = [found for name in names for found in _archives(name)]
    single = [name for name in names if archive_of(name) is None]
    paths = [Path(name) for name in single if not is_address(name)]
    root = _common([path.parent for path in paths])
    files: list[InputImage] = [
        InputImage(path, path.stem, path.name, folder=_mirrored(_below(path, root).parts[:-1]))
        for path in dict.fromkeys(paths)
    ]
    files += [
        _stored(name, PurePosixPath(name.rpartition("/")[2])) for name in single if is_address(name)
    ]
    return files, archives


def _coco(name: str) -> tuple[Path, Path] | None:
    """The COCO file that a name means, and the folder of its pictures; None if it means none."""
    file, _, folder = name.partition(INSIDE)
    path = Path(file)
    return (path, Path(folder) if folder else path.parent) if path.suffix == ".json" else None


def _of_coco(path: Path, folder: Path) -> list[InputImage]:
    """The pictures of a COCO file; one that is missing is an input that fails.

    A picture whose objects have one category has it as its label.
    """
    annotated = read_coco(path).by_picture
    if not annotated:
        raise PictureError(f"{path} names no pictures.")
    return [
        InputImage(
            folder / place,
            place.stem,
            place.name,
            folder=_mirrored(place.parts[:-1]),
            label=_only_category(objects),
        )
        for place, objects in annotated.items()
    ]


def _only_category(objects: Objects) -> str | None:
    categories = {region.category for region in objects.regions}
    return categories.pop() if len(categories) == 1 else None


def _common(folders: Sequence[Path]) -> Path | None:
    """The innermost folder that holds all of these; None for absolute and relative ones."""
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None


def _below(path: Path, root: Path | None) -> Path:
    return path.relative_to(root) if root is not None and path.is_relative_to(root) else path


def _stored(address: str, below: PurePosixPath, with_label: bool = False) -> StoredImage:
    """A picture at an address; `below` is its path below what was named."""
    folders = below.parts[:-1]
    return StoredImage(
        Path(below.name),
        below.stem,
        below.name,
        folder=_mirrored(folders),
        label=folders[0] if with_label and folders else None,
        content=Content(address, lambda: read_address(address)),
    )


def _named_archives(archives: Sequence[Archive]) -> list[tuple[str, Archive]]:
    """Each archive once, with a name for the folder of its results."""
    names = UniqueNames()
    stems = [PurePosixPath(one.address).name.split(".", maxsplit=1)[0] for one in archives]
    found = dict(zip(archives, stems, strict=True))
    return [(names.claim(stem), archive) for archive, stem in found.items()]


def _in_archive(named: tuple[str, Archive]) -> Iterator[InputImage]:
    """The pictures of an archive, with unique names in its own folder."""
    folder, archive = named
    taken: dict[str, UniqueNames] = {}
    for member in archive:
        place = PurePosixPath(folder) / _mirrored(member.name.parts[:-1])
        names = taken.setdefault(place.as_posix().casefold(), UniqueNames())
        yield _of_member(member, place, names.claim(member.name.name))


def _of_member(member: Member, folder: PurePosixPath, name: str) -> StoredImage:
    content = Content(member.address, member.read)
    title = member.name.name
    return StoredImage(Path(title), name, title, folder=folder, label=member.label, content=content)


def _mirrored(parts: Sequence[str]) -> PurePosixPath:
    """Folders below that of the results: no part leads out of it, whatever the names are."""
    kept = [part for part in parts if part not in ("/", ".", "..")]
    return PurePosixPath(*map(safe_name, kept[-_DEEPEST:]))


def _titled(images: Sequence[InputImage]) -> list[InputImage]:
    """The inputs with their place among all, where there are several."""
    count = len(images)
    if count == 1:
        return list(images)
    return [
        replace(one, title=f"{one.path.name} ({i} of {count})")
        for i, one in enumerate(images, start=1)
    ]
