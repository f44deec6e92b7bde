import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest

from onnxplain.errors import MapError
from onnxplain.results.explanation import Explanation, ModelFacts, Provenance
from onnxplain.targets.described import ExplainedTarget


def make(heatmap, picture_shape=(4, 6, 3), **changes):
    model = ModelFacts(None, "00" * 32, 13, "x", ("y",))
    return Explanation(
        values=np.array([[-2, 1], [0, 5]], np.float32),
        heatmap=heatmap,
        heatmap_range=(0.0, 5.0),
        picture=np.zeros(picture_shape, np.uint8),
        method="occlusion",
        target=ExplainedTarget("7", 7),
        score=0.5,
        score_kind="probability",
        score_tensor="y",
        parameters={},
        provenance=Provenance(model, {}, "CPUExecutionProvider", {}),
        **changes,
    )


def heat(fill, shape=(4, 6)):
    return np.full(shape, fill, np.float32)


def test_values_range_is_that_of_the_raw_values():
    assert make(heat(0.5)).values_range == (-2.0, 5.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01])
def test_a_heatmap_that_would_mislead_is_refused(bad):
    heatmap = heat(0.5)
    heatmap[2, 3] = bad
    with pytest.raises(MapError, match="not finite or outside 0 to 1"):
        make(heatmap)


def test_a_heatmap_must_have_the_size_of_its_picture():
    with pytest.raises(MapError, match="pixel by pixel"):
        make(heat(0.5, (6, 4)))


@pytest.mark.parametrize(
    ("target", "name", "title"),
    [
        (ExplainedTarget.of_class(282, "tiger cat"), "282_tiger_cat", "tiger cat"),
        (ExplainedTarget.of_class(282), "282", "282"),
        (ExplainedTarget("box_3"), "box_3", "box_3"),
    ],
)
def test_a_target_has_a_name_for_files_and_a_title_for_people(target, name, title):
    assert (target.name, target.title) == (name, title)


def test_it_prints_without_its_arrays():
    assert "array(" not in repr(make(heat(0.5), seen=heat(1) > 0, sheet=np.zeros((2, 2, 3))))


def test_importing_it_does_not_import_opencv():
    script = "import sys, onnxplain.results.explanation; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_notebook_shows_what_the_png_format_holds(tmp_path):
    explanation = make(heat(0.5))
    (file,) = explanation.save(tmp_path, "png")
    assert explanation._repr_png_() == file.read_bytes()


def test_show_opens_a_file_where_there_is_no_notebook(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    explanation = make(heat(0.5))
    explanation.show()
    (address,) = opened
    file = Path(url2pathname(urlparse(address).path))
    assert file.read_bytes() == explanation._repr_png_()
    file.unlink()
