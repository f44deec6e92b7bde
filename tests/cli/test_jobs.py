"""`onnxplain run` for many pictures: the index, going on, shards, and maps that are drawn again."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from onnxplain.errors import OutputError, ResultsError
from onnxplain.file_names import safe_name
from onnxplain.jobs import folder as folder_module
from onnxplain.jobs.description import read_description
from onnxplain.jobs.folder import JobFolder
from onnxplain.jobs.results import Results
from onnxplain.jobs.table import read_table

# The red square of the picture that `paint` makes.
SQUARE = np.zeros((8, 8), np.float32)
SQUARE[2:5, 4:8] = 1

HALF = 2.0**-11
"""The largest rounding of float16, relative to a number."""


@pytest.fixture
def photos(paint, tmp_path):
    """A folder of three pictures, the second of which is none."""
    paint("photos/a.png"), paint("photos/c.png", slice(0, 2))
    (tmp_path / "photos/b.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def noisy(tmp_path):
    """A folder of two photographs, whose maps are no round numbers."""
    (tmp_path / "noisy").mkdir()
    for i, name in enumerate(("tall", "wide")):
        size = (90, 40, 3) if name == "tall" else (40, 90, 3)
        noise = np.random.default_rng(i).integers(0, 255, size).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"noisy/{name}.png"), cv2.GaussianBlur(noise, (0, 0), 5))
    return tmp_path / "noisy"


def without_time(folder):
    """The records of a folder by id, without what differs between two runs."""
    facts = [json.loads(record.as_line()) for record in Results(folder)]
    return {one["id"]: {k: v for k, v in one.items() if k != "seconds"} for one in facts}


def files_of(folder):
    """The content of all files but those of the index, by path."""
    files = [path for path in folder.rglob("*") if path.is_file() and "index" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_each_result_is_a_line_of_the_index(cli, model, photos, tmp_path):
    assert cli("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "npy").status == 2
    first, failed, last = Results(tmp_path / "maps")
    assert first.seconds > 0
    assert json.loads(first.as_line()) == {
        "id": "a",
        "input": "photos/a.png",
        "sha256": hashlib.sha256((photos / "a.png").read_bytes()).hexdigest(),
        "label": None,
        "target": "0_red_fox",
        "class_index": 0,
        "class_name": "red fox, Vulpes vulpes",
        "predicted": 0,
        "output": None,
        "score": 12 / 64,
        "score_kind": "logit",
        "files": ["a.cam.0_red_fox.npy"],
        "map": None,
        "size": [8, 8],
        "seconds": first.seconds,
        "warnings": [],
        "error": None,
        "tries": 1,
        "part": [1, 1],
    }
    assert (failed.id, failed.target, failed.files) == ("b", None, ())
    assert failed.error.startswith("photos/b.png is not a picture")
    assert failed.sha256 == hashlib.sha256(b"no picture").hexdigest()
    assert last.score == 8 / 64
    assert_array_equal(Results(tmp_path / "maps").maps([first])[0], SQUARE)
    job = json.loads((tmp_path / "maps/job.json").read_text())
    assert job["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (job["method"], job["targets"], job["formats"]) == ("cam", ["top1"], ["npy"])


def test_several_targets_of_an_input_are_lines_of_their_own(cli, model, photos, tmp_path):
    """The picture is red, so that two of three classes have no map."""
    noise = np.random.default_rng(0).integers(1, 255, (8, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(photos / "b.png"), noise)
    assert cli("run", model, "photos", "-m", "cam", "-t", "top3", "-o", "maps").status == 2
    found = [(one.id, one.part, one.error) for one in Results(tmp_path / "maps")]
    assert [(id_, part) for id_, part, error in found if error is None] == [
        ("a:0_red_fox", (1, 2)),
        *(
            (f"b:{one.target}", (i, 3))
            for i, one in enumerate(list(Results(tmp_path / "maps"))[2:5], start=1)
        ),
        ("c:0_red_fox", (1, 2)),
    ]
    of_a = [error for id_, _, error in found if id_ == "a"]
    assert len(of_a) == 1
    assert "1_green_snake is the same everywhere" in of_a[0]
    assert "2_red_wolf is the same everywhere" in of_a[0]


def test_a_second_run_explains_only_what_is_new_changed_or_deleted(
    cli, model, photos, paint, tmp_path
):
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "npy", "--json")
    assert len(cli(*asked).out.splitlines()) == 2
    again = cli(*asked)
    assert (again.status, again.out) == (2, "")
    assert "2 inputs had results in maps and were not explained again" in again.err
    assert "1 input failed before; --retry-failed tries them again" in again.err

    paint("photos/d.png")
    (tmp_path / "maps/a.cam.0_red_fox.npy").unlink()
    paint("photos/c.png", slice(0, 4))
    later = (tmp_path / "maps/c.cam.0_red_fox.npy").stat().st_mtime + 1
    os.utime(photos / "c.png", (later, later))
    found = [json.loads(line)["picture"] for line in cli(*asked).out.splitlines()]
    assert found == ["photos/a.png", "photos/c.png", "photos/d.png"]
    records = {one.id: one for one in Results(tmp_path / "maps")}
    assert {id_: one.tries for id_, one in records.items()} == {"a": 2, "b": 1, "c": 2, "d": 1}
    assert records["c"].score == 16 / 64


def test_inputs_that_failed_are_tried_again_on_request(cli, model, photos, paint, tmp_path):
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps")
    cli(*asked)
    paint("photos/b.png")
    assert cli(*asked).status == 2
    outcome = cli(*asked, "--retry-failed", "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["picture"] == "photos/b.png"
    again = next(one for one in Results(tmp_path / "maps") if one.id == "b")
    assert (again.error, again.tries) == (None, 2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "occlusion"], "in the method: cam there, and occlusion here"),
        (["-m", "cam", "-t", "2"], "in the targets: top1 there, and 2 here"),
        (
            ["-m", "cam", "--score", "probability"],
            "in the options: score not given there, and score prob",
        ),
        (["-m", "cam", "--scale", "1"], "in the preprocessing: scale 0.00392"),
        (["-m", "cam", "-f", "npy"], "in the formats: npy,heatmap,png,json there, and npy here"),
        (["-m", "cam", "--output", "y"], "in the outputs: not given there, and y here"),
        (["-m", "cam", "--shard", "1/2"], "in the number of shards: not given there, and 2 here"),
    ],
)
def test_another_job_is_refused_by_name(cli, model, photos, tmp_path, flags, words):
    cli("run", model, "photos", "-m", "cam", "-o", "maps")
    before = files_of(tmp_path / "maps")
    sentence = cli("run", model, "photos", "-o", "maps", *flags).sentence
    assert words in sentence
    assert "name another --out" in sentence
    assert files_of(tmp_path / "maps") == before
    assert cli("run", model, "photos", "-o", "maps", *flags[:2], "--no-resume").status == 2


def test_another_model_is_another_job(cli, build, photos):
    cli("run", build(), "photos", "-m", "cam", "-o", "maps")
    other = build(weights=[("w", 2 * np.eye(3, dtype=np.float32)[:, :, None, None])])
    asked = ("run", other, "photos", "-m", "cam", "-o", "maps")
    assert "differs in the model: sha256" in cli(*asked).sentence


def test_pictures_that_are_listed_one_by_one_have_no_index(cli, model, paint, tmp_path):
    paint("a.png"), paint("b.png", slice(0, 2))
    for method in ("cam", "occlusion"):
        assert cli("run", model, "a.png", "b.png", "-m", method, "-o", "maps").status == 0
    assert not list((tmp_path / "maps").glob("*index*"))
    assert not (tmp_path / "maps/job.json").exists()
    with pytest.raises(ResultsError, match="holds no job"):
        Results(tmp_path / "maps")
    assert cli("run", model, "a.png", "-m", "cam", "-o", "maps", "--resume").status == 0
    assert [one.id for one in Results(tmp_path / "maps")] == ["a"]
    assert cli("run", model, "*.png", "-m", "cam", "-o", "others", "--no-resume").status == 0
    assert not (tmp_path / "others/index.jsonl").exists()


def test_folders_are_mirrored_and_name_the_true_class(cli, model, paint, tmp_path):
    for name in ("cat/1.png", "cat/old/1.png", "dog, big/1.png"):
        paint(f"photos/{name}")
    assert cli("run", model, "photos", "-r", "-m", "cam", "-o", "maps", "-f", "png").status == 0
    found = {one.id: (one.label, one.files) for one in Results(tmp_path / "maps")}
    assert found == {
        "cat/1": ("cat", ("cat/1.cam.0_red_fox.png",)),
        "cat/old/1": ("cat", ("cat/old/1.cam.0_red_fox.png",)),
        "dog_big/1": ("dog, big", ("dog_big/1.cam.0_red_fox.png",)),
    }
    assert all((tmp_path / "maps" / file).exists() for _, files in found.values() for file in files)


def test_an_input_keeps_its_id_when_others_of_its_name_are_added(cli, model, paint, tmp_path):
    paint("photos/cat.png")
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "npy")
    cli(*asked)
    paint("photos/cat.bmp", slice(0, 2))  # which sorts before it
    cli(*asked)
    assert {one.input: one.id for one in Results(tmp_path / "maps")} == {
        "photos/cat.png": "cat",
        "photos/cat.bmp": "cat-2",
    }
    assert np.load(tmp_path / "maps/cat.cam.0_red_fox.npy").sum() == 12


def test_a_run_that_is_refused_leaves_no_job(cli, model, photos, tmp_path):
    assert cli("run", model, "photos", "-m", "gradcam", "-l", "nothing", "-o", "maps").status == 2
    assert not (tmp_path / "maps").exists()
    cli("run", model, "photos", "-m", "gradcam", "-o", "maps")
    assert len(list(Results(tmp_path / "maps"))) == 3


@pytest.mark.parametrize("kept", [0, 1, 150, 400, 900, 1300])
def test_a_line_that_was_not_written_completely_is_written_again(
    cli, model, photos, tmp_path, kept
):
    asked = ("run", model, "photos", "-m", "cam", "-t", "top2", "-o", "maps", "-f", "npy")
    cli(*asked)
    expected, index = without_time(tmp_path / "maps"), tmp_path / "maps/index.jsonl"
    os.truncate(index, kept)
    cli(*asked)
    lines = index.read_bytes().splitlines()
    found = without_time(tmp_path / "maps")
    assert len(lines) == len(found)
    assert found == expected


def test_shards_share_the_inputs_and_a_folder(cli, model, paint, tmp_path):
    for i in range(5):
        paint(f"photos/{i}.png")
    asked = ("run", model, "photos", "-m", "cam", "-f", "npy", "-o")
    cli(*asked, "all")
    for shard in ("1/3", "2/3", "3/3"):
        assert cli(*asked, "parts", "--shard", shard).status == 0
    assert without_time(tmp_path / "parts") == without_time(tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "parts").glob("index*.jsonl"))
    assert names == [f"index-{i}-of-3.jsonl" for i in (1, 2, 3)]
    assert [one.id for one in Results(tmp_path / "parts")] == ["0", "3", "1", "4", "2"]
    assert "takes NUMBER/COUNT" in cli(*asked, "parts", "--shard", "4/3").sentence


def test_a_limit_explains_so_many_more(cli, model, paint, tmp_path):
    for i in range(5):
        paint(f"photos/{i}.png")
    asked = ("run", model, "photos", "-m", "cam", "-f", "npy", "-o", "maps", "--limit", 2)
    for done in (2, 4, 5, 5):
        assert cli(*asked).status == 0
        assert len(list(Results(tmp_path / "maps"))) == done


def test_outputs_are_records_of_their_own(cli, model, paint, tmp_path):
    paint("photos/a.png")
    outputs = ("--output", "y", "--output", "planes")
    asked = ("run", model, "photos", "-m", "occlusion", "-t", "0", *outputs, "-o", "maps")
    assert cli(*asked).status == 0
    found = [(one.id, one.output) for one in Results(tmp_path / "maps")]
    assert found == [("a:y.0_red_fox", "y"), ("a:planes.0_red_fox@predicted", "planes")]
    assert "2 inputs had results" in cli(*asked).err


def test_auto_stays_the_method_that_it_was(cli, model, photos, paint, tmp_path):
    asked = ("run", model, "photos", "-o", "maps", "-f", "npy")
    cli(*asked)
    assert read_description(tmp_path / "maps")["explained_by"] == {"": "hirescam"}
    facts = json.loads((tmp_path / "maps/job.json").read_text())
    facts["explained_by"] = {"": "gradcam"}  # as if an earlier version had chosen it
    (tmp_path / "maps/job.json").write_text(json.dumps(facts))
    paint("photos/z.png")
    cli(*asked)
    assert list((tmp_path / "maps").glob("z.gradcam.*"))


def test_a_folder_takes_one_run_at_a_time(cli, model, photos, tmp_path):
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps")
    cli(*asked)
    with JobFolder(tmp_path / "maps", read_description(tmp_path / "maps"), None):
        assert "Another run is writing to maps" in cli(*asked).sentence
    assert cli(*asked).status == 2


def test_a_run_that_is_refused_leaves_the_files_of_the_other_run(cli, model, photos, tmp_path):
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps")
    cli(*asked)
    facts = read_description(tmp_path / "maps")
    shutil.rmtree(tmp_path / "maps")
    with JobFolder(tmp_path / "maps", facts, None) as folder:
        assert "Another run is writing to maps" in cli(*asked).sentence
        assert folder.index.exists()
        assert folder.unfinished.exists()


def test_a_folder_that_is_removed_before_the_first_result(cli, model, photos, tmp_path):
    cli("run", model, "photos", "-m", "cam", "-o", "maps")
    facts = read_description(tmp_path / "maps")

    def outcomes():
        shutil.rmtree(tmp_path / "maps")
        raise OutputError("Could not write to maps.")
        yield

    removed = pytest.raises(OutputError, match="maps was removed while results were written")
    with removed, JobFolder(tmp_path / "maps", facts, None) as folder:
        list(folder.recorded(outcomes(), None))


def test_an_index_that_another_run_removes_as_it_ends_is_made_again(
    cli, model, photos, tmp_path, monkeypatch
):
    locks = []

    def lock(descriptor):
        if not locks:
            (tmp_path / "maps/index.jsonl").unlink()
        locks.append(descriptor)
        return True

    monkeypatch.setattr(folder_module, "try_lock", lock)
    cli("run", model, "photos", "-m", "cam", "-o", "maps")
    assert len(locks) == 2
    assert len(list(Results(tmp_path / "maps"))) > 1


def test_a_job_that_began_and_ended_meanwhile_is_not_mixed_with(
    cli, model, photos, paint, tmp_path, monkeypatch
):
    """It is not there when the folder is first looked at, and is when the index is locked."""
    asked = ("run", model, "photos", "-o", "maps", "-m")
    cli(*asked, "cam")
    paint("photos/z.png")
    read, results = folder_module.read_description, iter([None])
    monkeypatch.setattr(folder_module, "read_description", lambda at: next(results, read(at)))
    monkeypatch.setattr(folder_module, "index_files", lambda at: [])
    before = (tmp_path / "maps/index.jsonl").read_bytes()
    assert cli(*asked, "gradcam").status == 2
    assert (tmp_path / "maps/index.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("job.json", "{}", "does not describe a job"),
        ("job.json", '{"onnxplain": {"job": 99}}', "has version 99"),
        ("job.json", None, "has an index but no job.json"),
        ("index.jsonl", "[]\n", "is no line of an index"),
        ("index.jsonl", '{"id": 3}\n', "is no line of an index"),
    ],
)
def test_a_damaged_folder_is_refused(cli, model, photos, tmp_path, file, content, words):
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps")
    cli(*asked)
    path = tmp_path / "maps" / file
    path.unlink() if content is None else path.write_text(content)
    assert words in cli(*asked).sentence


def test_files_outside_of_the_folder_are_not_read(cli, model, photos, tmp_path):
    cli("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "npy")
    np.save(tmp_path / "secret.npy", SQUARE)
    index = tmp_path / "maps/index.jsonl"
    index.write_text(index.read_text().replace("a.cam.0_red_fox.npy", "../secret.npy"))
    results = Results(tmp_path / "maps")
    with pytest.raises(ResultsError, match="is not in the folder"):
        results.values(next(iter(results)))


def test_the_index_becomes_a_table(cli, model, photos, paint, tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    asked = ("run", model, "photos", "-m", "cam", "-t", "top2", "-o", "maps")
    cli(*asked)
    paint("photos/b.png")
    cli(*asked, "--retry-failed")
    table = tmp_path / "maps/index.parquet"
    assert list(read_table(table)) == list(Results(tmp_path / "maps"))
    found = pyarrow.read_table(table)
    assert found.column("id").to_pylist() == [one.id for one in Results(tmp_path / "maps")]
    assert found.schema.field("class_index").type == "int32"
    before = table.read_bytes()
    cli(*asked)
    assert table.read_bytes() == before


def test_a_summary_counts_the_reasons(cli, model, photos):
    (photos / "d.png").write_bytes(b"")
    (photos / "e.png").write_bytes(b"neither")
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps", "--workers", 3)
    lines = cli(*asked).err.splitlines()
    done = next(line for line in lines if line.startswith("Done: "))
    assert done.startswith("Done: 2 explained, 3 failed, 0 skipped, ")
    assert "Failed: 2 × ... is not a picture that OpenCV can decode, or is damaged" in "\n".join(
        lines
    )
    assert "Failed: 1 × ... is empty." in lines
    work = next(line for line in lines if line.startswith("Work: "))
    assert re.fullmatch(r"Work: read \d+%, model \d+%, map \d+%, save \d+%, on .*", work)
    assert "Done: 0 explained, 0 failed, 5 skipped." in cli(*asked).err
    assert "Done" not in cli(*asked, "-q").err


def test_maps_of_16_bits_are_read_and_drawn_again(cli, model, photos, tmp_path):
    """The maps are 0 and 1, which float16 holds exactly, so that the drawing is the same."""
    pytest.importorskip("zarr")
    outcome = cli("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "png,map16", "--json")
    found = [json.loads(line)["map"] for line in outcome.out.splitlines()]
    assert found == [{"shard": "maps/00000.zarr", "row": row} for row in (0, 1)]
    results = Results(tmp_path / "maps")
    assert_array_equal(results.maps([results.record("a")])[0], SQUARE)
    assert cli("show", "maps/index.jsonl", "a", "-o", "again").status == 0
    drawn = (tmp_path / "again/a.cam.0_red_fox.png").read_bytes()
    assert drawn == (tmp_path / "maps/a.cam.0_red_fox.png").read_bytes()
    line = json.loads(cli("show", "maps", "photos/c.png", "-o", "again", "--json").out)
    assert line == {"id": "c", "file": "again/c.cam.0_red_fox.png"}


@pytest.mark.parametrize(
    "flags",
    [
        ["-m", "gradcam"],
        ["-m", "input_x_gradient", "-t", "top2"],
        ["-m", "occlusion", "--window", "3", "--fit", "crop", "--resize", "10"],
        ["-m", "hirescam", "--fit", "letterbox", "-t", "0-1"],
        ["-m", "feature_maps"],
        ["-m", "layercam", "-l", "all"],
    ],
)
def test_a_drawing_from_maps_of_16_bits_is_nearly_that_of_32(cli, model, noisy, tmp_path, flags):
    pytest.importorskip("zarr")
    formats = "npy,heatmap,png,json,map16"
    assert cli("run", model, "noisy", "-o", "maps", "-f", formats, *flags).status == 0
    results = Results(tmp_path / "maps")
    for record in results:
        npy, heat, png, manifest = (tmp_path / "maps" / name for name in record.files)
        values, heatmap, facts = np.load(npy), np.load(heat), json.loads(manifest.read_text())
        largest = abs(values).max()
        assert_allclose(results.values(record), values, rtol=HALF, atol=HALF**2 * largest)
        again = results.explanation(record)
        low, high = facts["heatmap"]["range"]
        rounding = 4 * HALF * max(abs(low), abs(high)) / (high - low)
        assert_allclose(again.heatmap, heatmap, rtol=0, atol=rounding)
        drawn = cv2.imread(str(png))[..., ::-1]
        if again.sheet is None:
            exact = {"heatmap": heatmap, "heatmap_range": (low, high)}
            assert_array_equal(replace(again, **exact).draw(), drawn)
        else:
            assert_allclose(again.draw().astype(int), drawn, atol=2)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("maps", "z"), "has no result 'z'"),
        (("maps", "b"), "b has no map in the format map16: photos/b.png is not a picture"),
        (("photos", "a"), "holds no job"),
    ],
)
def test_what_cannot_be_drawn_again(cli, model, photos, asked, words):
    pytest.importorskip("zarr")
    cli("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "map16")
    assert words in cli("show", *asked).sentence


def test_a_picture_that_was_changed_or_deleted_is_not_drawn_again(cli, model, photos, paint):
    pytest.importorskip("zarr")
    cli("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "map16")
    paint("photos/a.png", slice(0, 1))
    (photos / "c.png").unlink()
    assert "was changed after it was explained" in cli("show", "maps", "a").sentence
    missing = cli("show", "maps", "c").sentence
    assert "is not there: go to the folder in which the job ran" in missing


@pytest.mark.parametrize("lost", ["maps/00000.zarr", "maps/00000.zarr/values/c"])
def test_maps_that_were_deleted(cli, model, photos, tmp_path, lost):
    pytest.importorskip("zarr")
    asked = ("run", model, "photos", "-m", "cam", "-o", "maps", "-f", "map16", "--json")
    cli(*asked)
    shutil.rmtree(tmp_path / "maps" / lost)
    (tmp_path / "maps/maps/00000.zarr/values/zarr.json").unlink(missing_ok=True)
    assert cli("show", "maps", "a").status == 2
    if lost.endswith(".zarr"):
        assert len(cli(*asked).out.splitlines()) == 2


def pack(folder, archive):
    """Put the pictures of a folder into a tar file, each with its class."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
            label = tarfile.TarInfo(f"{path.stem}.cls")
            label.size = 3
            tar.addfile(label, io.BytesIO(b"fox"))


def test_pictures_of_archives_and_addresses_have_the_results_of_files(cli, model, photos, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    fsspec = pytest.importorskip("fsspec")
    pack(photos, tmp_path / "s.tar")
    content = [path.read_bytes() for path in sorted(photos.iterdir())]
    parquet.write_table(arrow.table({"image": content}), tmp_path / "t.parquet")
    for path in photos.iterdir():
        fsspec.filesystem("memory").pipe(f"/r/{path.name}", path.read_bytes())
    (tmp_path / "list.txt").write_text("\n".join(map(str, sorted(photos.iterdir()))))
    formats = "npy,map16,png"
    found = {}
    for name in ("photos", "s.tar", "t.parquet::image", "memory://r", "@list.txt"):
        out = f"out-{safe_name(name)}"
        asked = ("run", model, name, "-m", "cam", "-o", out, "-f", formats)
        assert cli(*asked, "--json").status == 2
        results = Results(tmp_path / out)
        records = list(results)
        values = [results.values(one).tolist() for one in records if not one.error]
        facts = [(one.sha256, one.score, one.class_index, bool(one.error)) for one in records]
        found[name] = facts, values
        assert "2 inputs had results" in cli(*asked).err
        last = records[-1]
        drawn = cli("show", out, last.id, "-o", "again").out.split("-> ")[1].strip()
        (png,) = [tmp_path / out / file for file in last.files if file.endswith(".png")]
        assert (tmp_path / drawn).read_bytes() == png.read_bytes()
    assert all(one == found["photos"] for one in found.values())
    assert len(found["photos"][1]) == 2
    of_tar = list(Results(tmp_path / "out-s.tar"))
    assert [one.id for one in of_tar] == ["s/a", "s/b", "s/c"]
    assert {one.label for one in of_tar} == {"fox"}
    line = cli("run", model, "s.tar", "-m", "cam", "-o", "no", "--no-resume", "-f", "npy").out
    assert line.startswith("s.tar::a.png: 0 red fox")


def test_a_tar_file_that_was_changed_is_explained_again(cli, model, photos, paint, tmp_path):
    pack(photos, tmp_path / "s.tar")
    asked = ("run", model, "s.tar", "-m", "cam", "-o", "maps", "-f", "npy", "--json")
    cli(*asked)
    paint("photos/c.png", slice(0, 4))
    pack(photos, tmp_path / "s.tar")
    later = (tmp_path / "maps/s/c.cam.0_red_fox.npy").stat().st_mtime + 1
    os.utime(tmp_path / "s.tar", (later, later))
    assert len(cli(*asked).out.splitlines()) == 2
    assert Results(tmp_path / "maps").record("s/c").score == 16 / 64


def test_results_are_written_to_this_machine(cli, model, picture):
    words = cli("run", model, picture, "-o", "s3://bucket/maps").sentence
    assert "s3:/bucket/maps is no folder on this machine" in words


def test_pictures_of_a_bucket(cli, model, photos, tmp_path, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("photos")
        for path in photos.iterdir():
            bucket.pipe(f"photos/cat/{path.name}", path.read_bytes())
        pack(photos, tmp_path / "s.tar")
        bucket.put(str(tmp_path / "s.tar"), "photos/s-0.tar")
        asked = ("run", model, "-m", "cam", "-f", "npy")
        assert cli(*asked, "s3://photos", "-r", "-o", "a").status == 2
        assert [(one.id, one.label, bool(one.error)) for one in Results(tmp_path / "a")] == [
            ("cat/a", "cat", False),
            ("cat/b", "cat", True),
            ("cat/c", "cat", False),
            ("s-0/a", "fox", False),
            ("s-0/b", "fox", True),
            ("s-0/c", "fox", False),
        ]
        first = Results(tmp_path / "a").record("cat/a")
        assert first.input == "s3://photos/cat/a.png"
        assert first.sha256 == hashlib.sha256((photos / "a.png").read_bytes()).hexdigest()
        cli(*asked, "s3://photos/s-{0..0}.tar", "s3://photos/cat/c.png", "-o", "b")
        assert [one.id for one in Results(tmp_path / "b")] == ["c", "s-0/a", "s-0/b", "s-0/c"]
        assert "s3://nowhere" in cli(*asked, "s3://nowhere/*.png", "-o", "c").sentence
    finally:
        server.stop()
