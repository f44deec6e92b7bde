"""A job whose process is killed goes on, and ends with the files of one that was not."""

import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from onnxplain.jobs.results import Results

COUNT = 150
MAIN = """
from onnxplain.jobs import folder
folder._MOST_MAPS = 8
from onnxplain.cli import main
main()
"""


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for i in range(COUNT):
        picture = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"photos/{i:03d}.png"), picture)
    (tmp_path / "photos/077.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def lines(folder):
    index = folder / "index.jsonl"
    return index.read_bytes().count(b"\n") if index.exists() else 0


def start(folder, model, *flags):
    asked = ["run", model, "photos", "-m", "gradcam", "-q", "-o", folder.name, *flags]
    command = [sys.executable, "-c", MAIN, *map(str, asked)]
    return subprocess.Popen(command, cwd=folder.parent, stderr=subprocess.DEVNULL)


def content(folder):
    """All results: files by path, and by id records without times and maps as bytes."""
    results = Results(folder)
    records = {}
    for record in results:
        facts = json.loads(record.as_line())
        values = None if record.error else results.values(record).tobytes()
        left_out = ("seconds", "map")
        records[record.id] = {k: v for k, v in facts.items() if k not in left_out}, values
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "maps" not in path.parts and "index" not in path.name
    }
    return records, files


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["npy,json", "map16"])
def test_a_killed_job_goes_on_and_nothing_differs(model, photos, tmp_path, formats):
    if formats == "map16":
        pytest.importorskip("zarr")
    random = np.random.default_rng(len(formats))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, model, "-f", formats).wait(120) == 2  # for the file that is no picture

    for kill, until in enumerate((1, 40, 90)):
        process = start(killed, model, "-f", formats)
        while lines(killed) < until and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert kill == 0 or lines(killed) > 0
        for record in Results(killed):
            assert all((killed / name).is_file() for name in record.files)
            assert record.error or Results(killed).values(record).size
    assert 90 <= lines(killed) < COUNT, "the last kill came too late"

    assert start(killed, model, "-f", formats).wait(120) == 2
    assert content(killed) == content(whole)
    assert lines(killed) == COUNT, "an input was recorded twice"
    assert sorted(path.name for path in killed.iterdir() if path.name.startswith(".")) == []
