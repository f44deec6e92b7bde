"""Which axes of an answer hold samples, steps and classes, and whether it is a text at all."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny

from onnxplain.analysis.sequence import Shapes, ends_in_text, find_axes, sequence_score
from onnxplain.model.load import load

TALL = (1, 40, 97)


@pytest.mark.parametrize(
    ("shapes", "softmax", "labels", "text"),
    [
        (Shapes(1, (1, 40, 97), (1, 80, 97), TALL), None, None, "(N, T, C)"),
        (Shapes(1, (1, 97, 40), (1, 97, 80), None), None, None, "(N, C, T)"),
        (Shapes(1, (40, 1, 97), (80, 1, 97), None), None, None, "(T, N, C)"),
        (Shapes(1, (40, 1, 97), None, None), None, None, "(T, N, C)"),
        (Shapes(8, (40, 8, 97), None, None), None, None, "(T, N, C)"),
        (Shapes(1, (1, 40, 97), None, None), 2, None, "(N, T, C)"),
        (Shapes(1, (1, 97, 40), None, None), 1, None, "(N, C, T)"),
        (Shapes(1, (1, 97, 40), None, None), None, 96, "(N, C, T)"),
        (Shapes(1, (97, 1, 40), None, None), None, 96, "(C, N, T)"),
        (Shapes(1, (1, 97, 40), None, None), None, None, None),
        (Shapes(1, (1, 97, 1), None, None), 2, None, None),
        (Shapes(2, (2, 97, 2), None, None), 1, None, None),
    ],
)
def test_axes(shapes: Shapes, softmax: int | None, labels: int | None, text: str | None) -> None:
    axes = find_axes(shapes, softmax, lambda size: labels is not None and size == labels + 1)
    assert (axes and axes.text) == text


@pytest.mark.parametrize(
    ("shapes", "follows"),
    [
        (Shapes(1, (1, 40, 97), (1, 80, 97), (1, 40, 97)), 1),
        (Shapes(1, (1, 40, 97), (1, 80, 97), None), 1),
        (Shapes(1, (1, 40, 97), (1, 80, 97), (1, 80, 97)), None),  # tokens of a whole picture
        (Shapes(1, (1, 40, 97), (1, 40, 97), (1, 40, 97)), None),  # a fixed number of queries
        (Shapes(1, (1, 40, 97), None, None), None),
    ],
)
def test_only_a_softmax_at_steps_that_follow_the_width_is_a_text(
    shapes: Shapes, follows: int | None
) -> None:
    assert shapes.follows_width == follows
    assert ends_in_text("softmax", shapes) == (follows is not None)
    assert not ends_in_text("none", shapes)
    assert not ends_in_text("sigmoid", shapes)


def test_samples_that_are_not_first_are_a_text() -> None:
    assert ends_in_text("none", Shapes(1, (40, 1, 97), None, None))
    assert not ends_in_text("none", Shapes(1, (40, 97, 5), None, None))


@pytest.mark.parametrize(
    ("body", "activation", "moved", "softmax"),
    [
        ("y = Softmax <axis = -1> (x)", "softmax", (0, 1, 2), 2),
        ("y = Softmax <axis = 1> (x)", "softmax", (0, 1, 2), 1),
        ("y = Softmax (x)", "softmax", (0, 1, 2), 2),
        ("s = LogSoftmax (x) y = Transpose <perm = [1, 2, 0]> (s)", "logsoftmax", (1, 2, 0), 1),
        ("s = Softmax (x) t = Identity (s) y = Transpose (t)", "softmax", (2, 1, 0), 0),
        (
            "s = Softmax (x) t = Transpose <perm = [1, 2, 0]> (s) "
            "y = Transpose <perm = [1, 0, 2]> (t)",
            "softmax",
            (2, 1, 0),
            0,
        ),
        ("y = Transpose (x)", "none", (0, 1, 2), None),
    ],
)
def test_an_activation_before_transposes(
    body: str, activation: str, moved: tuple[int, ...], softmax: int | None
) -> None:
    """`moved[i]` is the axis of the probabilities that becomes axis i, as numpy transposes."""
    model = load(tiny(body, "float[2,3,5] x", "float[A,B,C] y"))
    found = sequence_score(model, "y")
    assert (found.score.activation, found.moved) == (activation, moved)
    assert found.softmax_axis(model) == softmax


def test_the_softmax_of_old_opsets_is_over_axis_1() -> None:
    model = load(tiny("y = Softmax (x)", "float[2,3,5] x", "float[A,B,C] y", opset=12))
    assert sequence_score(model, "y").softmax_axis(model) == 1
    assert np.argmax(sequence_score(model, "y").moved) == 2
