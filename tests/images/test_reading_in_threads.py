"""Reading .npy files on several threads."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np

from onnxplain.images import array_files


def test_headers_are_read_one_at_a_time(monkeypatch, tmp_path):
    """Else CPython 3.11 raises a SystemError now and then, if the threads' stacks differ."""
    path, now, most = tmp_path / "a.npy", [], []
    np.save(path, np.ones(3))
    load = np.load

    def slow(*given, **named):
        now.append(path)
        most.append(len(now))
        sleep(0.01)
        now.pop()
        return load(*given, **named)

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(array_files.read_npy, [path] * 8))
    assert [array.sum() for array in read] == [3] * 8
    assert max(most) == 1
