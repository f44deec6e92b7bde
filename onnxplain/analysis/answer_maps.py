"""What an answer with rows and columns is: a score for each class, or a picture.

A picture is an answer such as a depth, a restored photograph, or an anomaly map.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from onnxplain.analysis.layout import PICTURE_RANK, Layout, input_axes
from onnxplain.analysis.score import ScoreTensor
from onnxplain.model.model import Model
from onnxplain.model.operators import (
    ARITHMETIC,
    KEEPS_ORDER,
    KEEPS_VALUES,
    KNOWN_DOMAINS,
)
from onnxplain.model.shapes import Shape

Kind = Literal["classes", "picture", "unknown"]

_MAP_AXES = frozenset("NCDHW")
"""Axes of an answer with rows and columns."""

_COLORS = 3


@dataclass(frozen=True)
class AnswerMap:
    """An answer with rows and columns, and what its numbers are.

    Attributes:
        axes: a letter for each axis, "NCHW", "NHWC" or "NHW"; C holds the classes or channels.
        kind: "classes" for scores of classes in each cell, "picture" if the numbers belong to no
            class, "unknown" if the graph and the names leave both open.
        why: how the kind was found, in words.
        sure: for classes, whether they are more than a guess from the number of channels.
    """

    axes: str
    kind: Kind
    why: str
    sure: bool = True

    @property
    def channels(self) -> int | None:
        """The axis of the classes or channels; None if there is none."""
        return self.axes.index("C") if "C" in self.axes else None

    def grid(self, shape: Shape) -> Shape:
        """Rows and columns of an answer of a shape with the batch axis."""
        return tuple(n for n, axis in zip(shape, self.axes, strict=True) if axis not in "NC")

    def channel_count(self, shape: Shape) -> int:
        """The number of classes or channels of an answer of a shape with the batch axis."""
        return 1 if self.channels is None else shape[self.channels]


@dataclass(frozen=True)
class Facts:
    """What is known about an answer with rows and columns.

    `channels` and `grid` are its sizes; `input_channels` and `input_grid` those of the input, 0 and
    () if it is no picture. `label_count` is 0 without labels.
    """

    model: Model
    score: ScoreTensor
    input_name: str
    channels: int
    grid: Shape
    input_channels: int
    input_grid: Shape
    label_count: int
    has_channel_axis: bool


def find_answer_map(
    model: Model,
    score: ScoreTensor,
    shape: Shape,
    layout: Layout | None,
    picture: tuple[str, Shape],
    label_count: int,
) -> AnswerMap | None:
    """What an answer of several axes is; None if it is not known to have rows and columns.

    `shape` is the answer's shape for one sample, (1, ...), and `layout` what the graph shows of it.
    `picture` is the input's name and shape. `label_count` is 0 without labels. The kind follows
    from the first sign in `_SIGNS` that applies.
    """
    name, input_shape = picture
    names = input_axes(model, name, len(input_shape)) if len(input_shape) == PICTURE_RANK else ""
    sizes = dict(zip(names, input_shape, strict=False))
    input_grid = tuple(sizes[axis] for axis in "HW" if axis in sizes)
    axes = _axes(layout, shape, label_count, sizes.get("C", 0), input_grid)
    if not axes:
        return None
    found = AnswerMap(axes, "unknown", "neither the graph nor a name says what it is")
    facts = Facts(
        model=model,
        score=score,
        input_name=name,
        channels=found.channel_count(shape),
        grid=found.grid(shape),
        input_channels=sizes.get("C", 0),
        input_grid=input_grid,
        label_count=label_count,
        has_channel_axis=found.channels is not None,
    )
    for kind, applies, why in _SIGNS:
        if applies(facts):
            return replace(found, kind=kind, why=why.format(facts=facts))
    if _may_be_picture(facts):
        return found
    why = f"it has {facts.channels} channels of {' x '.join(map(str, facts.grid))} cells"
    return AnswerMap(axes, "classes", why, sure=False)


def _axes(
    layout: Layout | None, shape: Shape, label_count: int, input_channels: int, input_grid: Shape
) -> str:
    """The axes of an answer with rows and columns; empty if they are not known.

    They follow from the layout, or else for rank 4 from the number of labels, or from sizes that
    are those of the input up to a whole factor, if exactly one order of the axes fits.
    """
    if layout is not None and _MAP_AXES.issuperset(layout.axes):
        return layout.axes
    if len(shape) != PICTURE_RANK:
        return ""
    forms = {"NCHW": (shape[1], shape[2:]), "NHWC": (shape[3], shape[1:3])}
    labeled = [axes for axes, (channels, _) in forms.items() if channels == label_count]
    scaled = [
        axes
        for axes, (channels, grid) in forms.items()
        if channels in (1, input_channels) and _is_scaled(grid, input_grid)
    ]
    return next((found[0] for found in (labeled, scaled) if len(found) == 1), "")


def _is_scaled(grid: Shape, of: Shape) -> bool:
    """Whether a grid has the sizes of another one, times or divided by one whole number."""
    if len(of) != len(grid):
        return False
    (rows, columns), (height, width) = grid, of
    larger = rows % height == columns % width == 0 and rows // height == columns // width
    smaller = height % rows == width % columns == 0 and height // rows == width // columns
    return larger or smaller


def _is_larger(grid: Shape, than: Shape) -> bool:
    return len(grid) == len(than) and all(n > m for n, m in zip(grid, than, strict=True))


def _may_be_picture(facts: Facts) -> bool:
    """Whether the answer has one channel, or those of a picture of the input's size or larger."""
    if facts.channels == 1:
        return True
    smaller = _is_larger(facts.input_grid, facts.grid)
    return facts.channels in (facts.input_channels, _COLORS) and not smaller


_WORDS: Mapping[Kind, str] = {
    "picture": r"depths?|dispar\w*|disps?|inverse_depth|restor\w*|denois\w*|deblur\w*|dehaz\w*|"
    r"derain\w*|enhanced?|recons?|reconstruct\w*|sr|super_?res\w*|upscaled?|images?|img|pictures?|"
    r"rgb|salien\w*|heat_?maps?|anomal\w*|flow|normals?|density|albedo|noise|residuals?|alpha|"
    r"matte",
    "classes": r"logits?|seg\w*|semantic\w*|class(es)?|masks?|labels?|scores?|prob(s|abilit\w*)?",
}


def _named(kind: Kind, other: Kind) -> Callable[[Facts], bool]:
    """Whether the output's name has a word of one kind and none of the other."""

    def applies(facts: Facts) -> bool:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", facts.score.probability).lower()

        def has(words: str) -> bool:
            return re.search(rf"(?<![a-z])({words})(?![a-z])", name) is not None

        return has(_WORDS[kind]) and not has(_WORDS[other])

    return applies


_ENDS = {"Clip", "Elu", "Exp", "Relu", "Softplus", "Tanh"}
"""Last functions of pictures and of maps such as a depth; logits of classes are not cut off."""


def _ends_like_a_picture(facts: Facts) -> bool:
    """Whether one of `_ENDS` is last, before operators that only scale, shift or reshape."""
    index, tensor = facts.model.index, facts.score.logit
    while (node := index.producer(tensor)) is not None and node.domain in KNOWN_DOMAINS:
        if node.op_type in _ENDS:
            return True
        computed = [name for name in node.input if index.producer(name) is not None]
        if node.op_type not in _SCALES or len(computed) != 1:
            return False
        (tensor,) = computed
    return False


def _adds_to_the_input(facts: Facts) -> bool:
    """Whether the input reaches the output through arithmetic alone, as where noise is removed."""
    index, seen = facts.model.index, set[str]()
    stack, sums = [facts.score.logit], False
    while stack:
        tensor = stack.pop()
        if tensor == facts.input_name:
            return sums
        node = index.producer(tensor)
        if tensor in seen or node is None or node.op_type not in _RESIDUAL:
            continue
        seen.add(tensor)
        sums = sums or node.op_type in ("Add", "Sub")
        stack += [name for name in node.input if name]
    return False


_SCALES = KEEPS_VALUES | KEEPS_ORDER | ARITHMETIC
_RESIDUAL = _SCALES | {"Clip", "Resize", "Upsample"}


_SIGNS: tuple[tuple[Kind, Callable[[Facts], bool], str], ...] = (
    (
        "classes",
        lambda f: f.has_channel_axis and f.label_count == f.channels,
        "there are as many labels as channels, {facts.channels}",
    ),
    (
        "classes",
        lambda f: f.has_channel_axis and f.score.activation in ("softmax", "logsoftmax"),
        "it ends in a {facts.score.activation}",
    ),
    ("picture", _named("picture", "classes"), "its name is {facts.score.probability!r}"),
    (
        "classes",
        lambda f: f.has_channel_axis and _named("classes", "picture")(f),
        "its name is {facts.score.probability!r}",
    ),
    ("picture", lambda f: not f.has_channel_axis, "it has no axis of classes"),
    (
        "picture",
        lambda f: _may_be_picture(f) and _adds_to_the_input(f),
        "the model adds it to the picture",
    ),
    (
        "picture",
        lambda f: _may_be_picture(f) and _is_larger(f.grid, f.input_grid),
        "it is larger than the input",
    ),
    (
        "picture",
        lambda f: _may_be_picture(f) and _ends_like_a_picture(f),
        "it ends in a function that logits do not have",
    ),
    (
        "classes",
        lambda f: f.score.activation == "sigmoid" and (f.channels == 1 or not _may_be_picture(f)),
        "it ends in a sigmoid",
    ),
)
"""Kinds, the sign of each in the facts, and the sign in words; the first that applies decides."""
