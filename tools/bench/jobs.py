"""Pictures per second of a job of small maps, as a ratio to plain forwards on the same threads.

    python -m tools.bench.jobs [--pictures 10000] [--size 375x500] [--workers 2] [MODEL]

The job is `onnxplain run FOLDER --method gradcam --format map16`: it reads JPEG files from a
folder, and writes maps and an index. The plain forwards are ONNX Runtime alone, on a sample in
memory, at its best batch size, alternating with the job. Also printed: the ratio to a loop that
reads and prepares the same files and runs the model, which is what a user without maps needs, and
the memory of the process after each part. With `--workers`, the same job on a Ray cluster of this
machine follows, of one core for each worker.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from onnxplain import Explainer
from onnxplain.explainer.pipeline import chunks, in_order
from onnxplain.jobs.cluster import Workers, computed_on, connected
from onnxplain.jobs.description import describe
from onnxplain.jobs.folder import JobFolder
from onnxplain.jobs.inputs import InputImage, find_inputs
from onnxplain.jobs.job import Job, Saving
from tools.bench.forwards import Plain, plain_forwards

_MODEL = Path("models/efficientnet_lite0.onnx")
_PARTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=_MODEL)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--size", default="375x500")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, columns = map(int, given.size.split("x"))
        images = _write_pictures(Path(folder) / "photos", given.pictures, (rows, columns))
        explainer, out = Explainer(given.model), Path(folder)
        here = _measure(explainer, given.model, images, out / "maps")
        if given.workers:
            there = _on_ray(explainer, images, out / "ray", given.workers)
            print(
                f"{given.workers} workers: {1 / there:.1f} pictures/s, "
                f"{there / here:.2f} times the seconds of here"
            )


def _write_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[InputImage]:
    """JPEG files that look like photographs: crops of the shipped pictures, all different."""
    folder.mkdir()
    found = sorted(Path("models/pictures").glob("*.png"))
    sources = [np.asarray(cv2.imread(str(path))) for path in found]
    random = np.random.default_rng(0)
    for i in range(count):
        source = sources[i % len(sources)]
        height, width = (int(side * random.uniform(0.5, 1)) for side in source.shape[:2])
        top = int(random.integers(0, source.shape[0] - height + 1))
        left = int(random.integers(0, source.shape[1] - width + 1))
        part = source[top : top + height, left : left + width]
        cv2.imwrite(str(folder / f"{i:06d}.jpg"), cv2.resize(part, size[::-1]))
    return find_inputs([str(folder)])


def _measure(explainer: Explainer, model: Path, images: Sequence[InputImage], out: Path) -> float:
    """Print what the module says, and return the median seconds of a picture."""
    (sample,) = explainer.samples([images[0].path])
    plain = plain_forwards(model, sample, "CPUExecutionProvider")
    each = -(-len(images) // _PARTS)
    ratios: list[tuple[float, float]] = []
    seconds: list[float] = []
    with JobFolder(out, _facts(explainer), None) as folder:
        job = Job(explainer, "gradcam", ["top1"], Saving(out, ["map16"], "inferno"))
        for start in range(0, len(images), each):
            part = images[start : start + each]
            ours = _seconds(folder.recorded(job.run(part), None)) / len(part)
            forward = plain.seconds(len(part)) / len(part)
            whole = _seconds(_read_and_run(explainer, part, plain)) / len(part)
            seconds.append(ours)
            ratios.append((ours / forward, ours / whole))
            print(
                f"{start + len(part):,} pictures: {1 / ours:.1f} pictures/s, {ours / forward:.2f} "
                f"plain forwards, {ours / whole:.2f} of reading and running, {_memory()} MB",
                flush=True,
            )
        folder.finish()
    to_forwards, to_whole = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median: {to_forwards:.2f} plain forwards, {to_whole:.2f} of reading and running")
    print(f"bytes for each picture: {_bytes(out) / len(images):.0f}")
    return statistics.median(seconds)


def _on_ray(explainer: Explainer, images: Sequence[InputImage], out: Path, workers: int) -> float:
    """Seconds of a picture on a cluster, after the workers have started."""
    job = Job(explainer, "gradcam", ["top1"], Saving(out, ["map16"], "inferno"))
    with connected(None) as ray, JobFolder(out, _facts(explainer), None) as folder:
        computed = computed_on(ray, Workers(least=workers, most=workers), job, images)
        next(computed)
        return _seconds(folder.recorded(job.saved(computed), None)) / (len(images) - 1)


def _facts(explainer: Explainer) -> dict[str, Any]:
    return describe(
        [explainer],
        method="gradcam",
        options={},
        targets=["top1"],
        settings={},
        formats=["map16"],
        colormap="inferno",
        shards=None,
    )


def _read_and_run(
    explainer: Explainer, images: Sequence[InputImage], plain: Plain
) -> Iterator[None]:
    """Read and prepare pictures on two threads, as the job does, and run the model on them."""
    (name,) = plain.feed
    ready = in_order(lambda one: explainer.samples([one.path])[0], images)
    for some in chunks(ready, plain.batch):
        plain.session.run(None, {name: np.concatenate(some)})
        yield None


def _seconds(work: Iterable[object]) -> float:
    began = time.perf_counter()
    for _ in work:
        pass
    return time.perf_counter() - began


def _memory() -> int:
    """Megabytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def _bytes(folder: Path) -> int:
    def files() -> Iterator[Path]:
        return (path for path in folder.rglob("*") if path.is_file())

    return sum(path.stat().st_size for path in files())


if __name__ == "__main__":
    main()
