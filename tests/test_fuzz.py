"""The fuzzer finds what it is there to find."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("hypothesis")


from tools.cases import nets
from tools.fuzz import driver, maps, models, worker
from tools.fuzz.case import BESIDE, GIVEN, OUT, Case
from tools.fuzz.files import npy, png
from tools.fuzz.judge import ENDS, OPENS, WRITES, verdicts
from tools.fuzz.report import lines
from tools.fuzz.run import SECRET, Ended, lay_out
from tools.fuzz.watch import Watch

RUN = ("run", "../given/m.onnx", "../given/p.png", "--json", "-o", "../out")
CASE = Case("picture", "a net", {"m.onnx": nets.net_r().SerializeToString(), "p.png": b"?"}, [RUN])


def made(kind, number, count=8):
    found = []

    def each(case):
        found.append((case.what, dict(case.files), list(case.commands)))

    worker.each_case(kind, number, count, each)
    return found


@pytest.mark.parametrize("kind", worker.KINDS)
def test_cases_depend_on_the_seed_alone(kind):
    assert made(kind, 3) == made(kind, 3)
    assert made(kind, 3) != made(kind, 4)


def found_by(ended, folder, case=CASE):
    return {oracle: finding for oracle, finding in verdicts(case, ended, folder) if finding}


@pytest.fixture
def folder(tmp_path):
    lay_out(CASE, tmp_path / "case")
    (tmp_path / "case" / OUT).mkdir()
    return tmp_path / "case"


def refused(err, status=2, out="", opened=()):
    return Ended(RUN, status, out, err, opened, 0.1)


BAD = {
    "an internal error": refused("Error: Internal error, KeyError: 3. Please report it.\n", 1),
    "a traceback": refused('Traceback (most recent call last):\n  File "a.py"\nKeyError\n', 1),
    "a warning of Python": refused("/a/b.py:3: UserWarning: no\nError: No.\n"),
    "a long line": refused(f"Error: {'x' * 501}.\n"),
    "no error": refused(""),
    "two errors": refused("Error: A.\nError: B.\n"),
    "half a sentence": refused("Error: The file\n"),
    "an escape code": refused("Error: \x1b[31mred.\n"),
    "another status": refused("Error: No.\n", 1),
    "an error and status 0": refused("Error: No.\n", 0, '{"files": []}\n'),
    "no JSON": refused("", 0, "text\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sentence_is_found(name, folder):
    if name == "no JSON":
        assert ENDS in {v.oracle for v in verdicts(CASE, replaced(BAD[name]), folder) if v.finding}
    else:
        assert ENDS in found_by(BAD[name], folder)


def replaced(ended):
    return Ended(("inspect", *RUN[1:]), ended.status, ended.out, ended.err, (), 0.1)


def test_a_sentence_is_no_finding(folder):
    assert found_by(refused("Error: The file is damaged: copy it again.\n"), folder) == {}
    full = "Error: There is not enough memory: try a smaller picture.\n"
    assert found_by(refused(full, 1), folder) == {}


def test_files_that_are_not_as_reported_are_found(folder):
    reported = f'{{"files": ["{folder}/out/a.npy"]}}\n'
    assert "and wrote []" in found_by(refused("", 0, reported), folder)[WRITES]
    (folder / OUT / "a.npy").write_bytes(npy(np.ones(3))[:-1])
    assert "is not whole" in found_by(refused("", 0, reported), folder)[WRITES]
    assert "failed and left" in found_by(refused("Error: No.\n"), folder)[WRITES]
    (folder / OUT / "a.npy").write_bytes(npy(np.ones(3)))
    assert found_by(refused("", 0, reported), folder) == {}
    (folder / GIVEN / "new").touch()
    assert "changed the given folder" in found_by(refused("", 0, reported), folder)[WRITES]


def test_what_is_told_of_another_file_is_found(folder):
    assert OPENS in found_by(refused(f"Error: No class {SECRET}.\n"), folder)


WATCH = Watch()


def test_files_that_are_opened_elsewhere_are_seen(folder, tmp_path):
    (tmp_path / "other").write_text("x")
    with WATCH.only(folder / GIVEN, traps=[folder / BESIDE]) as opened:
        (folder / GIVEN / "p.png").read_bytes()
        np.array(1)
    assert opened == []
    with WATCH.only(folder / GIVEN, traps=[folder / BESIDE]) as opened:
        (tmp_path / "other").read_text()
        subprocess.run(["cat", folder / BESIDE / "secret.bin"], check=True, capture_output=True)
    assert str(tmp_path / "other") in opened
    assert "trap/secret.bin" in opened


def test_a_case_is_run_and_judged(tmp_path, capsys):
    picture = png(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    case = Case("picture", "", {"m.onnx": CASE.files["m.onnx"], "p.png": picture}, [RUN])
    lay_out(case, tmp_path / "a")
    with capsys.disabled():
        outcome = worker.try_case(case, tmp_path / "a", WATCH)
    assert outcome["explained"]
    assert outcome["findings"] == []
    assert outcome["checked"] == [ENDS, OPENS, WRITES]
    case.write(tmp_path / "kept")
    assert Case.read(tmp_path / "kept").files == case.files


def valid_case(method, proto=None):
    content = (proto or nets.net_r()).SerializeToString()
    facts = {"method": method, "exact": True, "compared": True, "other": {}}
    facts |= {"shape": [3, 20, 26], "dtype": "float32"}
    return Case("model", "", {"model.onnx": content}, [], facts=facts, valid=True)


def test_maps_of_a_right_model_have_no_finding(tmp_path):
    lay_out(valid_case("occlusion"), tmp_path)
    found = list(maps.map_verdicts(valid_case("occlusion"), tmp_path))
    assert {verdict.oracle for verdict in found} == {maps.DERIVES, maps.BATCHES, maps.REPEATS}
    assert all(not verdict.finding for verdict in found)


def test_a_wrong_gradient_and_a_map_that_changes_are_found(tmp_path, monkeypatch):
    lay_out(valid_case("gradient"), tmp_path)
    honest, count = maps.Explainer.attribute, iter(range(100))

    def wrong(self, *arguments, **options):
        found = honest(self, *arguments, **options)
        found.values[:] *= 1 + 0.1 * next(count)
        return found

    monkeypatch.setattr(maps.Explainer, "attribute", wrong)
    found = {v.oracle for v in maps.map_verdicts(valid_case("gradient"), tmp_path) if v.finding}
    assert found == {maps.DERIVES, maps.BATCHES, maps.REPEATS}


ENDING = {
    "crashes": ("import os; input(); os.abort()", driver.SURVIVES),
    "hangs": ("input(); input()", driver.ENDS_IN_TIME),
    "grows": ("input(); a = b'x' * (200 << 20); input()", driver.ENDS_IN_TIME),
}


@pytest.mark.parametrize("name", ENDING)
def test_a_worker_that_is_lost_is_a_finding(name, tmp_path, monkeypatch):
    code, oracle = ENDING[name]
    honest = subprocess.Popen
    monkeypatch.setattr(
        driver.subprocess, "Popen", lambda _, **more: honest([sys.executable, "-c", code], **more)
    )
    monkeypatch.setattr(driver, "SECONDS", 3 if name == "hangs" else 60)
    monkeypatch.setattr(driver, "RESIDENT", 100 << 20)
    lost = driver.Worker()
    CASE.write(lost.folder)
    with pytest.raises(driver.LostError) as error:
        list(lost.ask(kind="picture"))
    assert error.value.oracle == oracle
    outcome = driver._lost(error.value, lost, tmp_path / "kept")
    lost.close()
    assert outcome["findings"][0][0] == oracle
    assert Case.read(tmp_path / "kept").what == CASE.what
    report = "\n".join(lines([driver.Finished("picture", [outcome])]))
    assert f"python -m tools.fuzz --replay {tmp_path / 'kept'}" in report


def test_every_method_is_tried():
    from onnxplain.methods.registry import METHODS

    assert {*models.METHODS} == {*METHODS, "auto"} - {"expected_gradients", "vit_reciprocam"}
