"""Train a classifier on pictures with a mark, and one without: the report names the mark alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reports.generated import scenes_of

from onnxplain.cli.app import execute
from tools.build_models.digits import small_sidecar
from tools.build_models.marked_scenes import save_pictures, with_marks
from tools.build_models.scenes import CLASSES, HELD_OUT

pytestmark = [pytest.mark.slow, pytest.mark.peers]


@pytest.mark.parametrize("name", ["clean_digits", "marked_digits"])
def test_the_report_on_a_trained_model(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tools.build_models.marked_digits import accuracy, export, train

    digits, has_marks = range(CLASSES), name == "marked_digits"
    training = scenes_of(digits, 300, slice(-HELD_OUT), seed=1)
    judged = scenes_of(digits, 30, slice(-HELD_OUT, None), seed=2)
    if has_marks:
        training, judged = with_marks(training), with_marks(judged)
    net = train(training, epochs=14)
    assert accuracy(net, judged) > 0.75
    model = tmp_path / f"{name}.onnx"
    model.write_bytes(export(net, name))
    (tmp_path / f"{name}.onnxplain.json").write_text(json.dumps(small_sidecar(name)))
    save_pictures(tmp_path / "pictures", judged)
    maps = str(tmp_path / "maps")
    named = str(model), str(tmp_path / "pictures"), "--provider", "cpu"
    assert execute(["run", *named, "-r", "-q", "-m", "gradcam", "-f", "map16", "-o", maps]) == 0
    assert execute(["report", maps]) == 0
    found = json.loads((tmp_path / "maps" / "report.json").read_text(encoding="utf-8"))
    expected = [("three", "lower right corner")] if has_marks else []
    assert [(one["class"], one["place"]) for one in found["findings"]] == expected
