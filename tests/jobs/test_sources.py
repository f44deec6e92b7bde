"""Names of inputs: folders, patterns, lists, archives and addresses."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxplain.errors import OptionError, PictureError
from onnxplain.jobs import addresses, archives
from onnxplain.jobs.archives import Parquet, Tar, read_member
from onnxplain.jobs.shards import Shard
from onnxplain.jobs.sources import Inputs, find_all, names_a_set


def png(gray: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((4, 4, 3), gray, np.uint8))[1])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, gray: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(gray))


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def ids(inputs: Inputs) -> list[str]:
    return [one.id for one in inputs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["photos"], ["1"]),
        (["photos/*/*.png"], ["a/1", "a/2", "b/1"]),
        (["photos/a/{1..2}.png"], ["1", "2"]),
        (["photos/a", "photos/b"], ["1", "2", "1-2"]),
    ],
)
def test_files_folders_and_patterns(here: Path, given: list[str], expected: list[str]) -> None:
    for name in ("1", "a/1", "a/2", "b/1"):
        write(here / f"photos/{name}.png")
    assert ids(find_all(given)) == expected
    assert ids(find_all(["photos"], recursive=True)) == ["1", "a/1", "a/2", "b/1"]


def test_a_list_names_files_below_their_common_folder(here: Path) -> None:
    for name in ("a/1", "b/1"):
        write(here / f"photos/{name}.png")
    (here / "list.txt").write_text("photos/b/1.png\n\n photos/a/1.png \nphotos/a/gone.png\n")
    found = find_all(["@list.txt"])
    assert ids(found) == ["b/1", "a/1", "a/gone"]
    assert next(one.address for one in found) == "photos/b/1.png"
    assert names_a_set("@list.txt")
    with pytest.raises(PictureError, match=r"no list gone\.txt"):
        find_all(["@gone.txt"])
    (here / "list.txt").write_text("\n")
    with pytest.raises(PictureError, match=r"list\.txt is empty"):
        find_all(["@list.txt"])


def test_samples_of_a_tar_file(here: Path) -> None:
    members = [
        ("cat/7.jpg", png(7)),
        ("cat/7.cls", b"tabby\n"),
        ("cat/7.json", b"{}"),
        ("8.left.png", png(8)),
        ("8.right.png", png(9)),
        ("README", b"no sample"),
    ]
    for name, mode in (("shard-0.tar", "w"), ("shard-1.tgz", "w:gz")):
        write_tar(here / name, members, mode)
        found = list(find_all([name]))
        stem = name.split(".")[0]
        assert [(one.id, one.label) for one in found] == [
            (f"{stem}/cat/7", "tabby"),
            (f"{stem}/8.left.png", None),
            (f"{stem}/8.right.png", None),
        ]
        assert found[0].address == f"{name}::cat/7.jpg"
        assert found[0].sha256 is None
        assert found[0].given.read() == png(7)
        assert found[0].sha256 is not None
        assert read_member(f"{name}::8.right.png") == png(9)
    assert ids(find_all(["shard-*.tgz", "shard-{0..0}.tar"])) == [
        *ids(find_all(["shard-1.tgz"])),
        *ids(find_all(["shard-0.tar"])),
    ]


def test_names_in_an_archive_stay_in_the_folder_of_the_results(here: Path) -> None:
    names = [
        "../../a.png",
        "/etc/b.png",
        "c/../../d.png",
        "con/f.png",
        "..\\e.png",
        "x" * 300 + ".png",
    ]
    write_tar(here / "s.tar", [(name, png(i)) for i, name in enumerate(names)])
    found = ids(find_all(["s.tar"]))
    assert found[:4] == ["s/a", "s/etc/b", "s/c/d", "s/_con/f"]
    assert len(set(found)) == len(names)
    assert all(".." not in id_.split("/") and id_.startswith("s/") for id_ in found)
    assert all(len(part.encode()) <= 120 for id_ in found for part in id_.split("/"))


def test_links_and_devices_in_a_tar_file_are_not_read(here: Path) -> None:
    (here / "secret.png").write_bytes(png(1))
    with tarfile.open(here / "s.tar", "w") as tar:
        for name, kind in (
            ("a.png", tarfile.SYMTYPE),
            ("b.png", tarfile.LNKTYPE),
            ("c.png", tarfile.CHRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "secret.png"
            tar.addfile(entry)
    assert ids(find_all(["s.tar"])) == []


def test_a_member_that_is_too_large_is_refused_and_the_others_are_read(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(here / "s.tar", [("a.png", b"x" * 5000), ("b.png", png(1))])
    monkeypatch.setattr(archives, "MOST_BYTES", 4999)
    large, small = find_all(["s.tar"])
    with pytest.raises(PictureError, match=r"s\.tar::a\.png has more than 4,999 bytes"):
        large.given.read()
    assert small.given.read() == png(1)


@pytest.mark.parametrize("kept", [0, 100, 1200])
def test_a_tar_file_that_is_cut_short_ends_with_an_error(here: Path, kept: int) -> None:
    write_tar(here / "s.tar", [("a.png", png(1)), ("b.png", png(2) * 50)])
    content = (here / "s.tar").read_bytes()
    (here / "s.tar").write_bytes(content[: kept or 3])
    found = list(find_all(["s.tar"]))
    assert found[-1].address == "s.tar"
    with pytest.raises(PictureError, match=r"s\.tar cannot be read|is cut short"):
        found[-1].given.read()


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_a_column_of_a_parquet_file(here: Path, kind: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [png(1), png(2), None]
    if kind == "struct":
        cells = [cell and {"bytes": cell, "path": "x.png"} for cell in cells]
    names = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    table = arrow.table({"image": cells, "label": [1, 0, 5], "text": ["a", "b", "c"]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    parquet.write_table(table, here / "data-0.parquet", row_group_size=2)
    for name in ("data-0.parquet::image", "data-0.parquet", "data-*.parquet::image"):
        found = list(find_all([name]))
        assert [(one.id, one.label) for one in found] == [
            ("data-0/000000", "dog"),
            ("data-0/000001", "cat"),
            ("data-0/000002", "5"),
        ]
        assert found[1].address == "data-0.parquet::image[1]"
        assert found[1].given.read() == png(2)
        with pytest.raises(PictureError, match="holds no bytes of a picture"):
            found[2].given.read()
    assert read_member("data-0.parquet::image[0]") == png(1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two.parquet", "has 2 columns that may hold pictures: name one of a, b"),
        ("two.parquet::c", "has no column 'c'; it has a, b"),
        ("none.parquet", "cannot be read"),
    ],
)
def test_a_parquet_file_without_such_a_column(here: Path, name: str, words: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"a": [b"x"], "b": [b"y"]}), here / "two.parquet")
    (here / "none.parquet").write_bytes(b"PAR1 no file")
    (only,) = find_all([name])
    with pytest.raises(PictureError, match=words):
        only.given.read()


@pytest.fixture
def memory() -> object:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in ("photos/1.png", "photos/cat/2.png", "photos/cat/notes.txt"):
        files.pipe(f"/{name}", png(int(name.count("/"))))
    yield files
    files.rm("/photos", recursive=True)


def test_pictures_at_an_address(memory: object) -> None:
    assert ids(find_all(["memory://photos"])) == ["1"]
    found = list(find_all(["memory://photos"], recursive=True))
    assert [(one.id, one.label) for one in found] == [("1", None), ("cat/2", "cat")]
    assert found[1].address == "memory:///photos/cat/2.png"
    assert found[1].given.read() == png(2)
    assert ids(find_all(["memory://photos/*/*.png"])) == ["cat/2"]
    (one,) = find_all(["memory://photos/1.png"])
    assert (one.id, one.given.read()) == ("1", png(1))


def test_what_is_wrong_with_an_address(memory: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (gone,) = find_all(["memory://photos/gone.png"])
    with pytest.raises(PictureError, match=r"memory://photos/gone\.png does not exist"):
        gone.given.read()
    with pytest.raises(PictureError, match="There are no pictures at memory://photos/cat/"):
        find_all(["memory://photos/cat/*.txt"])
    with pytest.raises(OptionError, match="nowhere://x cannot be opened"):
        find_all(["nowhere://x"])
    monkeypatch.setattr(addresses, "MOST_BYTES", 10)
    (one,) = find_all(["memory://photos/1.png"])
    with pytest.raises(PictureError, match="has more than 10 bytes"):
        one.given.read()


def test_archives_at_an_address(memory: object, here: Path) -> None:
    write_tar(here / "s.tar", [("a.png", png(1))])
    memory.pipe("/photos/s-0.tar", (here / "s.tar").read_bytes())
    memory.pipe("/photos/s-1.tar", (here / "s.tar").read_bytes())
    assert ids(find_all(["memory://photos/s-{0..1}.tar"])) == ["s-0/a", "s-1/a"]
    assert ids(find_all(["memory://photos/*.tar"])) == ["s-0/a", "s-1/a"]
    assert ids(find_all(["memory://photos"])) == ["1", "s-0/a", "s-1/a"]


def test_shards_hold_whole_archives(here: Path) -> None:
    for i in range(3):
        write_tar(here / f"s-{i}.tar", [("a.png", png(1)), ("b.png", png(2))])
        write(here / f"{i}.png")
    found = find_all(["*.png", "s-{0..2}.tar"])
    assert ids(found.share(Shard(1, 2))) == ["0", "2", "s-0/a", "s-0/b", "s-2/a", "s-2/b"]
    assert ids(found.share(Shard(2, 2))) == ["1", "s-1/a", "s-1/b"]


@pytest.mark.parametrize("name", ["s-{5..3}.tar", "s-{0..9999999}.tar"])
def test_a_range_of_no_number_or_of_too_many(name: str) -> None:
    with pytest.raises(PictureError, match="stands for no number, or for too many"):
        find_all([name])


def test_archives_are_equal_by_address() -> None:
    assert len({Tar("a"), Tar("a"), Parquet("a"), Parquet("a", "b")}) == 3
