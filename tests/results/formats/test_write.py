import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onnxplain.errors import OutputError
from onnxplain.results.formats.write import SameFolder, write_files

FILES = {"a.npy": b"first", "b.png": b"second", "c.json": b"third"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing_at(call, error):
    """A Path.write_bytes that writes only a part and raises, at its nth call."""
    calls = []
    whole = Path.write_bytes

    def write_bytes(path, data):
        calls.append(path)
        if len(calls) < call:
            return whole(path, data)
        whole(path, data[:2])
        raise error

    return write_bytes


def test_files_appear_with_nothing_beside_them(tmp_path):
    paths = write_files(tmp_path / "new" / "folder", FILES)
    assert [path.name for path in paths] == list(FILES)
    assert contents(tmp_path / "new" / "folder") == FILES


def test_new_files_can_be_read_by_whoever_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        (path, *_) = write_files(tmp_path, FILES)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "you may not write there"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_refused_write_leaves_everything_as_it_was(tmp_path, monkeypatch, number, says, call):
    (tmp_path / "b.png").write_bytes(b"from before")
    refused = OSError(number, os.strerror(number))
    monkeypatch.setattr(Path, "write_bytes", failing_at(call, refused))
    with pytest.raises(OutputError, match=says) as caught:
        write_files(tmp_path, FILES)
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == {"b.png": b"from before"}


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupt_leaves_everything_as_it_was(tmp_path, monkeypatch, call):
    (tmp_path / "b.png").write_bytes(b"from before")
    monkeypatch.setattr(Path, "write_bytes", failing_at(call, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, FILES)
    assert contents(tmp_path) == {"b.png": b"from before"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on file sizes")
def test_a_system_that_takes_only_half_a_file(tmp_path):
    script = f"""
import resource
from pathlib import Path
from onnxplain.errors import OutputError
from onnxplain.results.formats.write import SameFolder, write_files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_files(Path({str(tmp_path)!r}), {{"small": b"x" * 10, "large": b"x" * 2000}})
except OutputError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "larger than the system allows" in run.stdout
    assert contents(tmp_path) == {}


def test_two_processes_do_not_mix_their_files(tmp_path):
    """No file appears while another process holds the folder's lock, and then all do."""
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    thread = threading.Thread(target=write_files, args=(tmp_path, {"a": b"1", "b": b"2"}))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert not {"a", "b"} & {path.name for path in tmp_path.iterdir()}
    os.close(holder)
    thread.join(5)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_folder_that_is_removed_or_replaced_is_noticed(tmp_path):
    folder = tmp_path / "maps"
    same = SameFolder(folder)
    same.check()
    folder.mkdir()
    same.check()
    folder.rename(tmp_path / "old")
    with pytest.raises(OutputError, match="was removed while results were written"):
        same.check()
    folder.mkdir()
    with pytest.raises(OutputError, match="was removed while results were written"):
        same.check()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(OutputError, match="it is a file, not a folder"):
        write_files(tmp_path / "out", FILES)
    with pytest.raises(OutputError, match="a part of that path is a file"):
        write_files(tmp_path / "out" / "deeper", FILES)
    assert contents(tmp_path) == {"out": b"mine"}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="you may not write there"):
        write_files(tmp_path, FILES)
    tmp_path.chmod(0o700)
    assert contents(tmp_path) == {}
