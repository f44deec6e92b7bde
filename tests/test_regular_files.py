"""What a file may be: read from a model, a picture, a sidecar or its labels."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxplain.errors import ModelError, OnnxplainError, PictureError, PreprocessError
from onnxplain.images.array_files import read_npy, read_tiff
from onnxplain.images.files import read_sidecar
from onnxplain.images.hub import read_hub_config
from onnxplain.images.labels import find_labels
from onnxplain.images.picture import find_pictures, read_pixels
from onnxplain.model.load import load
from onnxplain.regular_files import is_inside, read_regular

READERS: dict[str, tuple[Callable[[Path], object], type[OnnxplainError]]] = {
    "model": (load, ModelError),
    "picture": (read_pixels, PictureError),
    "array": (read_npy, PictureError),
    "scene": (read_tiff, PictureError),
    "labels": (lambda path: find_labels(None, {}, path), PreprocessError),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "endless device"])
def test_a_pipe_or_a_device_is_refused_at_once(reader: str, kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    read, error = READERS[reader]
    with pytest.raises(error, match="it is a device or a pipe, not a regular file"):
        read(path)


def test_a_sidecar_that_is_a_pipe_is_no_sidecar(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnxplain.json")
    assert read_sidecar(tmp_path / "model.onnx") is None


@pytest.mark.parametrize("what", ["m.onnx", "a.png", ".", "*.png"])
def test_a_folder_that_may_not_be_read(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for another user; the superuser of a test may read all folders."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    read = load if what == "m.onnx" else lambda path: find_pictures([path])
    with pytest.raises(OnnxplainError, match=r"cannot be read: Permission denied\.$") as found:
        read(tmp_path / what)
    assert found.value.exit_status == 2


def test_a_limit_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="it has more than 4 bytes"):
        read_regular(tmp_path / "file", 4)


def test_labels_have_a_limit(tmp_path: Path) -> None:
    with (tmp_path / "labels.txt").open("wb") as file:
        file.truncate(2**25 + 1)
    with pytest.raises(PreprocessError, match="it has more than 33,554,432 bytes"):
        find_labels(None, {}, tmp_path / "labels.txt")


@pytest.mark.parametrize("form", ["absolute", "above", "link"])
def test_a_sidecar_names_no_file_outside_its_folder(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret.txt"
    secret.write_text("root\npassword")
    (folder / "link.txt").symlink_to(secret)
    name = {"absolute": str(secret), "above": "../secret.txt", "link": "link.txt"}[form]
    (folder / "m.onnxplain.json").write_text(f'{{"labels": "{name}"}}')
    with pytest.raises(PreprocessError, match="outside its folder") as found:
        find_labels(folder / "m.onnx", {})
    assert "password" not in str(found.value)
    named = find_labels(folder / "m.onnx", {}, secret)
    assert named is not None
    assert named.name(1) == "password"


@pytest.mark.parametrize(
    "name", ["m.onnxplain.json", "config.json", "preprocessor_config.json", "../config.json"]
)
def test_a_file_near_a_model_is_no_link_out_of_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "onnx"
    folder.mkdir(parents=True)
    (tmp_path / "secret.json").write_text('{"id2label": {"0": "password"}}')
    (folder / name).symlink_to(tmp_path / "secret.json")
    read = read_hub_config if "config" in name else read_sidecar
    with pytest.raises(PreprocessError, match=r"is a link to a file outside its folder"):
        read(folder / "m.onnx")


def test_a_loop_of_links_is_no_labels_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "m.onnxplain.json").write_text('{"labels": "loop"}')
    with pytest.raises(PreprocessError, match="outside its folder"):
        find_labels(tmp_path / "m.onnx", {})


def test_labels_of_a_download_cache_of_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "1").write_text("cat\ndog")
    (blobs / "2").write_text('{"labels": "names.txt"}')
    (blobs / "3").write_bytes(b"the model")
    (snapshot / "m.onnx").symlink_to("../blobs/3")
    (snapshot / "names.txt").symlink_to("../blobs/1")
    (snapshot / "m.onnxplain.json").symlink_to("../blobs/2")
    labels = find_labels(snapshot / "m.onnx", {})
    assert labels is not None
    assert labels.name(1) == "dog"


def test_inside_means_the_folder_and_all_below_it(tmp_path: Path) -> None:
    assert is_inside(tmp_path / "a" / "b.txt", tmp_path / "m.onnx")
    assert not is_inside(tmp_path / "a" / ".." / ".." / "b.txt", tmp_path / "m.onnx")
    assert not is_inside(Path(f"{tmp_path}2") / "b.txt", tmp_path / "m.onnx")
