"""The documentation says what the code does: tables, diagrams, links and examples."""

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from onnxplain.methods.registry import METHODS
from tools.docs import graphs, operators
from tools.docs.families import FAMILIES
from tools.docs.limits import LIMITS
from tools.docs.tables import PAGES, replaced

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES_OF_DOCS = sorted(DOCS.rglob("*.md"))
TEXTS = sorted([*ROOT.glob("*.md"), *PAGES_OF_DOCS])
BLOCKS = [(page, name) for page, blocks in PAGES.items() for name in blocks]


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def code(page, name):
    """The Python code after a mark."""
    (found,) = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", text(page), re.DOTALL)
    return found


def run(source, folder):
    """Run a new process, which does not change the rules of this one."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    (folder / "program.py").write_text(source)
    return subprocess.run(
        [sys.executable, folder / "program.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("page", "name"), BLOCKS)
def test_tables_and_diagrams_are_those_of_the_code(page, name):
    shown = text(page)
    made_for = re.search(r"operators of onnx (\S+),", shown)
    if name == "standard operators" and made_for and made_for[1] != onnx.__version__:
        pytest.skip(f"the list was made for onnx {made_for[1]}")
    assert replaced(shown, name, PAGES[page][name]()) == shown, "run `python -m tools.docs.tables`"


def test_every_method_belongs_to_one_family():
    named = [name for names in FAMILIES.values() for name in names]
    assert sorted(named) == sorted(METHODS)


def test_the_reference_says_of_every_method_what_it_does_not_explain():
    assert sorted(LIMITS) == sorted(METHODS)


def test_every_operator_of_onnx_is_listed_once():
    listed = re.findall(r"^\| (\w+) \| [a-z]+ \| (?!\d)", operators.standard_table(), re.MULTILINE)
    schemas = onnx.defs.get_all_schemas()
    missing = {s.name for s in schemas if not s.domain and not s.deprecated} - set(listed)
    assert not missing
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    "row",
    [
        "| Add | rule | [elementwise](../onnxplain/autodiff/rules/elementwise.py) |"
        " differentiable |",
        "| If | rule | [control_flow](../onnxplain/autodiff/rules/control_flow.py) |  |",
        "| LSTM | rewritten | [recurrent](../onnxplain/autodiff/lowering/recurrent.py) |"
        " differentiable |",
        "| Upsample | rewritten | [opset](../onnxplain/autodiff/lowering/opset.py) |  |",
        "| CenterCropPad | body |  | differentiable |",
        "| Round | zero |  |  |",
        "| RandomNormal | none | has no input |  |",
        "| StringConcat | none | takes no floats |  |",
        "| OptionalHasElement | none | for optional values |  |",
    ],
)
def test_an_operator_is_listed_with_what_is_done_about_it(row):
    assert row in operators.standard_table().splitlines()


def test_operators_of_onnx_runtime_are_read_from_rules_and_passes():
    rows = operators.microsoft_table().splitlines()
    assert "| Inverse | rule | [linear](../onnxplain/autodiff/rules/linear.py) |" in rows
    assert "| FusedConv | rewritten | [fused](../onnxplain/autodiff/lowering/fused.py) |" in rows
    assert (
        "| QGemm | rewritten | [quantized](../onnxplain/autodiff/lowering/quantized.py) |" in rows
    )


def test_the_diagram_holds_the_nodes_and_the_edges_of_the_graph():
    lines = [line.strip() for line in graphs.before().splitlines()]
    assert lines[:2] == ["```mermaid", "flowchart LR"]
    assert lines[4:9] == [
        'n0["Conv<br/>w1, b1"]',
        'n1["Relu"]',
        'n2["GlobalAveragePool"]',
        'n3["Flatten"]',
        'n4["Gemm<br/>w2, b2"]',
    ]
    assert lines[9:-1] == [
        "t0 --> n0",
        "n0 -->|a| n1",
        "n1 -->|b| n2",
        "n2 -->|c| n3",
        "n3 -->|d| n4",
        "n4 --> t1",
    ]


def test_diagrams_connect_and_color_boxes_that_are_there():
    for diagram in (graphs.before(), graphs.after()):
        boxes = set(re.findall(r"^    (\w+)[\[(]", diagram, re.MULTILINE))
        edges = re.findall(r"^    (\w+) -->(?:\|\w+\|)? (\w+)$", diagram, re.MULTILINE)
        classes = re.findall(r"^    class ([\w,]+) (\w+)$", diagram, re.MULTILINE)
        styles = re.findall(r"^    classDef (\w+) \S.*$", diagram, re.MULTILINE)
        known = len(boxes) + len(edges) + len(classes) + len(styles)
        assert known == diagram.count("\n") - 3, "a line is none of these"
        assert {end for edge in edges for end in edge} | boxes == boxes
        assert {box for members, _ in classes for box in members.split(",")} <= boxes
        assert {style for _, style in classes} <= set(styles)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {link}"


def anchors(page):
    """The anchors of the headings on a Markdown page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_that_the_code_names_exist():
    """In error texts, so that their readers find them."""
    named = {
        (file.name, page)
        for file in (ROOT / "onnxplain").rglob("*.py")
        for page in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))
        if page != "docs/ContribOperators.md"  # of ONNX Runtime
    }
    assert ("target.py", "docs/python.md") in named
    assert [(file, page) for file, page in named if not (ROOT / page).is_file()] == []


def test_every_page_is_in_the_index():
    index = text("docs/README.md")
    pages = [page.relative_to(DOCS).as_posix() for page in PAGES_OF_DOCS]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in index] == []


def test_the_example_of_a_gradient_runs(tmp_path):
    onnx.save(graphs.example(), tmp_path / "net.onnx")
    page = "docs/development/gradients.md"
    pictures = "import numpy\npictures = numpy.random.default_rng(0).random((2, 3, 32, 32), 'f4')\n"
    # Every weight is 1: in each of 8 channels the pixel adds 1 / 32**2 per cell that it reaches.
    check = """
rows = np.array([2] + [3] * 30 + [2])
expected = np.broadcast_to(8 * np.outer(rows, rows) / 32**2, gradient.shape)
assert scores.shape == (2, 10)
assert [value.name for value in with_gradient.proto.graph.output] == ["y", GRADIENT + "x"]
np.testing.assert_allclose(gradient, expected, rtol=1e-5)
"""
    done = run(pictures + code(page, "example") + code(page, "seeds") + check, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("mistake", "outcome"), [("Sub(total", 0), ("Add(total", 1)])
def test_the_rule_that_is_written_in_ten_minutes_is_right_and_its_test_sees_mistakes(
    tmp_path, mistake, outcome
):
    rule = code("docs/development/write-a-rule.md", "rule").replace("Sub(total", mistake)
    cases = "\nfor n, m in [(3, 5), (1, 4), (2, 2)]:\n    test_cdist(n, m)\n"
    done = run(rule + code("docs/development/write-a-rule.md", "test") + cases, tmp_path)
    assert done.returncode == outcome, done.stderr
    assert ("AssertionError: along 'a'" in done.stderr) == bool(outcome)


def test_the_target_that_reads_several_tensors(tmp_path):
    given = """
import cv2
import numpy as np
import onnx
from tiny import noise, tiny

picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
cv2.imwrite("street.png", picture)
body = '''a = Conv<pads=[1,1,1,1]>(x, K)  b = Relu(a)  f = Flatten(b)  objectness = MatMul(f, O)
    l = MatMul(f, C)  classes = Reshape(l, SHAPE)'''
weights = {"K": noise(4, 3, 3, 3), "O": noise(1024, 5), "C": noise(1024, 15, seed=1)}
outputs = "float[N,5] objectness, float[N,5,3] classes"
detector = tiny(body, "float[N,3,16,16] x", outputs, SHAPE=np.array([-1, 5, 3]), **weights)
onnx.save(detector, "detector.onnx")
"""
    check = """
from tiny import run

x, _ = explainer.preprocess.apply(picture[..., ::-1])
objectness, classes = run(detector, {"x": x})
np.testing.assert_allclose(found.score, objectness[0, 3] * classes[0, 3, 1], rtol=1e-4)
assert found.target.name == "class 1 in box 3"
assert found.score_tensor == "objectness,classes"
"""
    done = run(given + code("docs/python.md", "several tensors") + check, tmp_path)
    assert done.returncode == 0, done.stderr
