"""Jobs on a Ray cluster of several nodes on this machine."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain import Explainer
from onnxplain.errors import OnnxplainError, OptionError
from onnxplain.jobs import cluster, map_dataset
from onnxplain.jobs.cluster import Workers, computed_on, connected
from onnxplain.jobs.job import Job, Saving
from onnxplain.jobs.results import Results
from onnxplain.jobs.sources import find_all

COUNT = 40


@pytest.mark.parametrize(
    ("on", "workers", "expected"),
    [
        ("ray", None, (None, 1, 1)),
        ("ray", "4", (None, 4, 4)),
        ("ray://host:10001", "2-8", ("ray://host:10001", 2, 8)),
    ],
)
def test_workers_on_the_command_line(
    on: str, workers: str | None, expected: tuple[str | None, int, int]
) -> None:
    found = Workers.parse(on, workers, 1, 0.5)
    assert (found.address, found.least, found.most) == expected


@pytest.mark.parametrize(
    ("on", "workers", "words"),
    [
        ("slurm", None, "--on takes ray"),
        ("ray", "0", "--workers takes a number or bounds"),
        ("ray", "8-2", "--workers takes a number or bounds"),
        ("ray", "many", "--workers takes a number or bounds"),
    ],
)
def test_workers_that_are_refused(on: str, workers: str | None, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Workers.parse(on, workers, 1, 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The mean of each color is the logit of a class."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["planes"], "conv"),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["y"], "flatten"),
    ]
    identity = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 3))],
        [identity],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    settings = {"size": 8, "fit": "stretch", "scale": 1 / 255}
    sidecar = json.dumps({"preprocess": settings, "labels": ["red", "green", "blue"]})
    (tmp_path / "model.onnxplain.json").write_text(sidecar)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in a folder, one of which is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(COUNT):
        picture = random.integers(0, 255, (12, 10, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:02d}.png"), picture)
    (folder / "07.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def nodes():
    """A cluster of three nodes; the head has no cores for workers."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    ray.init(made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def job(model: Path, folder: Path, formats: str = "npy,json,map16") -> Job:
    explainer = Explainer(model, threads=1, batch_size=1)
    return Job(explainer, "gradcam", ["top2"], Saving(folder, formats.split(","), "inferno"))


def facts(computed: list) -> list[tuple]:
    """What two ways of computing have in common, as plain values."""
    return [
        (
            one.image.address,
            one.image.sha256,
            [(data.target.name, data.score, data.values.tobytes()) for data, _ in one.found],
            [dict(files) for _, files in one.found],
            [kept.facts for kept in one.maps],
            str(one.error),
        )
        for one in computed
    ]


@pytest.mark.ray
def test_a_cluster_computes_what_one_process_does(nodes, model, photos, tmp_path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for path in sorted(photos.iterdir())[:10]:
            tar.add(path, path.name)
    inputs = [str(photos), str(tmp_path / "s.tar")]
    own = job(model, tmp_path / "maps")
    with connected(None) as ray:
        there = list(computed_on(ray, Workers(least=2, most=2), own, find_all(inputs)))
    here = list(own.computed(find_all(inputs)))
    assert facts(there) == facts(here)
    assert len(there) == COUNT + 10


@pytest.mark.ray
def test_a_model_that_workers_cannot_load(nodes, model, photos, tmp_path) -> None:
    own = job(model, tmp_path / "maps")
    model.unlink()
    with connected(None) as ray, pytest.raises(Exception, match="no file"):
        list(computed_on(ray, Workers(), own, find_all([str(photos)])))


def killing(names: list[str], times: int, notes: Path):
    """A worker whose process ends at an input of one of these names, so many times for each."""

    class Killed(cluster._Worker):
        def explain(self, inputs):
            for sent in inputs:
                for name in names:
                    done = notes / name
                    ends = len(done.read_text()) if done.exists() else 0
                    if sent.image.name == name and ends < times:
                        done.write_text("x" * (ends + 1))
                        os.kill(os.getpid(), signal.SIGKILL)
            return super().explain(inputs)

    return Killed


@pytest.mark.ray
@pytest.mark.parametrize(("times", "failed"), [(1, []), (2, []), (9, ["03", "25"])])
def test_workers_that_die(nodes, model, photos, tmp_path, monkeypatch, times, failed) -> None:
    """An input that is alone on a worker that dies twice is skipped; no other input is."""
    (tmp_path / "notes").mkdir()
    own = job(model, tmp_path / "maps")
    monkeypatch.setattr(cluster, "_Worker", killing(["03", "25"], times, tmp_path / "notes"))
    with connected(None) as ray:
        there = list(computed_on(ray, Workers(least=2, most=2), own, find_all([str(photos)])))
    here = list(own.computed(find_all([str(photos)])))
    skipped = [one.image.name for one in there if "alone ended 2 times" in str(one.error)]
    assert skipped == failed
    assert [one for one in facts(there) if Path(one[0]).stem not in failed] == [
        one for one in facts(here) if Path(one[0]).stem not in failed
    ]


@pytest.mark.ray
def test_a_node_that_dies(nodes, model, photos, tmp_path) -> None:
    extra = nodes.add_node(num_cpus=1)
    own = job(model, tmp_path / "maps")
    with connected(None) as ray:
        found = computed_on(ray, Workers(least=3, most=3), own, find_all([str(photos)]))
        there = [next(found)]
        nodes.remove_node(extra, allow_graceful=False)
        there += found
    assert facts(there) == facts(list(own.computed(find_all([str(photos)]))))


@pytest.mark.ray
def test_no_more_inputs_are_read_than_the_workers_need(nodes, model, photos, tmp_path) -> None:
    read = []

    def inputs():
        for _ in range(20):
            for image in find_all([str(photos)]):
                read.append(image)
                yield image

    with connected(None) as ray:
        found = computed_on(ray, Workers(least=2, most=2), job(model, tmp_path / "m"), inputs())
        next(found)
        assert len(read) <= (2 * 2 + 1) * cluster._CHUNK
        found.close()


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["bytes", "struct", "array", "path"])
def test_a_dataset_of_ray(nodes, model, photos, kind) -> None:
    from ray.data import from_items

    paths = sorted(photos.iterdir())[:12]
    made = {
        "bytes": lambda path: path.read_bytes(),
        "struct": lambda path: {"bytes": path.read_bytes(), "path": path.name},
        "array": lambda path: Explainer(model).take(path).picture,
        "path": str,
    }[kind]
    kept = [path for path in paths if kind != "array" or path.name != "07.png"]
    rows = [{"picture": made(path), "key": path.name} for path in kept]
    dataset = map_dataset(
        from_items(rows, override_num_blocks=3),
        model,
        column="picture",
        method="gradcam",
        target="top2",
        explainer={"threads": 1, "batch_size": 1},
        batch_size=4,
        concurrency=(1, 2),
        num_cpus=1,
    )
    found = sorted(dataset.take_all(), key=lambda row: row["key"])
    explainer = Explainer(model, threads=1, batch_size=1)
    expected = []
    for path, results in zip(kept, explainer.try_values(kept, "gradcam", "top2"), strict=True):
        if isinstance(results, OnnxplainError):
            expected.append((path.name, None, None, True))
            continue
        expected += [(path.name, one.score, one.values.tobytes(), False) for one in results]
    assert [
        (
            row["key"],
            row["score"],
            None if row["values"] is None else np.array(row["values"], np.float32).tobytes(),
            row["error"] is not None,
        )
        for row in found
    ] == expected
    assert "picture" not in found[0]
    assert list(found[0]["shape"]) == [8, 8]


@pytest.mark.ray
def test_a_job_goes_on_after_the_driver_dies(model, photos, tmp_path) -> None:
    pytest.importorskip("ray")
    asked = ["-m", "onnxplain", "run", str(model), "photos", "-m", "gradcam", "-f", "npy", "-q"]
    fixed = ["--threads", "1", "--batch-size", "1"]
    run = [sys.executable, *asked, *fixed]
    subprocess.run([*run, "-o", "whole"], cwd=tmp_path, check=False)
    code = """
from onnxplain.jobs import cluster
cluster._CHUNK = 4
from onnxplain.cli import main
main()
"""
    on_ray = [sys.executable, "-c", code, *asked[2:], *fixed, "-o", "killed", "--on", "ray"]
    process = subprocess.Popen(on_ray, cwd=tmp_path, stderr=subprocess.DEVNULL)
    index = tmp_path / "killed/index.jsonl"
    while process.poll() is None and not (index.exists() and index.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(list(Results(tmp_path / "killed"))) < COUNT
    done = subprocess.run(on_ray, cwd=tmp_path, check=False)
    assert done.returncode == 2  # for the file that is no picture
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.npy")}
        for name in ("whole", "killed")
    ]
    assert contents[0] == contents[1]
    ids = [[one.id for one in Results(tmp_path / name)] for name in ("whole", "killed")]
    assert ids[0] == ids[1]
