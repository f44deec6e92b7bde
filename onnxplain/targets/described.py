"""The names of targets on screen, in file names and in manifests."""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxplain.file_names import safe_name

LONGEST_TARGET = 60
"""Most bytes of a target's name in the name of a file."""

_OUTPUT_BYTES = 28
"""Most bytes of an output's name in the name of a file."""

_NUMBERS = re.compile(r"(box:)?[\d,]+")

_LABEL_BYTES = 16  # of a class whose name a region follows


@dataclass(frozen=True)
class ExplainedRegion:
    """Where in the answer of a segmentation model a class was explained.

    Attributes:
        where: in words, such as "predicted" or "box:10,20,64,48".
        pixels: number of cells of the answer's map in the region.
        grid: rows and columns of that map.
    """

    where: str
    pixels: int
    grid: tuple[int, ...]


@dataclass(frozen=True)
class ExplainedBox:
    """A detected box, in pixels of the picture, x to the right and y downward.

    `confidence` is its score in the picture. `rank` is 1 for the box of its class with the largest
    score, 2 for the next one.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    rank: int = 1


@dataclass(frozen=True)
class ExplainedReference:
    """An embedding that the answer was compared with.

    Attributes:
        path: the picture or the .npy file that it is of; None if it is of a text or was given as an
            array.
        elements: the number of its elements.
        text: the text that it is of; None for others.
        text_model: the file of the model that made it of the text; None if it is not known.
    """

    path: Path | None
    elements: int
    text: str | None = None
    text_model: Path | None = None


@dataclass(frozen=True)
class ExplainedText:
    """What a text recognizer read, and which part of it was explained.

    Attributes:
        text: the whole text that was read; None if it is not known which class is the blank.
        steps: the steps of the answer whose scores were explained, counted from 0.
        character: the number of the explained character, counted from 1; None if it is not one.
    """

    text: str | None
    steps: tuple[int, ...]
    character: int | None = None

    @property
    def place(self) -> str:
        """The steps in words, such as "step 7", "steps 7-9" or "10 steps"."""
        first, last = self.steps[0], self.steps[-1]
        if len(self.steps) == 1:
            return f"step {first}"
        together = last - first == len(self.steps) - 1
        return f"steps {first}-{last}" if together else f"{len(self.steps)} steps"


@dataclass(frozen=True)
class ExplainedTarget:
    """What was explained.

    Attributes:
        name: the name on screen and in file names, such as "282_tiger_cat".
        index: the index of the class, or None if the target is not a class.
        label: the class's full label, or None if the model has no labels.
        region: where a class of a segmentation model was explained; None for other targets.
        boxes: the detected boxes whose scores were explained; empty for other targets.
        references: the embeddings that the answer was compared with; empty for other targets.
        read: the part of a text that was explained; None for other targets.
        output: the output or inner tensor that was named to be explained; None if none was.
    """

    name: str
    index: int | None = None
    label: str | None = None
    region: ExplainedRegion | None = None
    boxes: tuple[ExplainedBox, ...] = ()
    references: tuple[ExplainedReference, ...] = ()
    read: ExplainedText | None = None
    output: str | None = None

    @classmethod
    def of_class(cls, index: int, label: str | None = None) -> ExplainedTarget:
        """Return the target for a class, named after its index and its label."""
        return cls(target_name(index, label), index, label)

    @property
    def file_name(self) -> str:
        """Return the part of file names that tells the target, after the output if it was named."""
        if self.output is None:
            return safe_name(self.name, LONGEST_TARGET)
        return fitted(f"{fitted(self.output, _OUTPUT_BYTES)}.{self.name}", LONGEST_TARGET)

    @property
    def title(self) -> str:
        """Return the label, or the name if there is no label, and the region or a rank above 1.

        For a part of a text, return the part, its steps and the text. If the output was named, its
        name is first.
        """
        if self.read is not None:
            own = self._part(self.read)
        elif self.region is None:
            rank = self.boxes[0].rank if len(self.boxes) == 1 else 1
            own = (self.label or self.name) + (f" #{rank}" if self.label and rank > 1 else "")
        else:
            own = f"{self.label or self.index} @ {self.region.where}"
        return own if self.output is None else f"{self.output}: {own}"

    def _part(self, read: ExplainedText) -> str:
        label = "" if self.label is None else f' "{self.label}"'
        if self.index is None:
            return f'text "{read.text}"'
        called = f"class {self.index}" if read.character is None else f"char {read.character}"
        of = "" if read.text is None else f' of "{read.text}"'
        shown = label or ("" if read.character is None else f" (class {self.index})")
        return f"{called}{shown} at {read.place}{of}"

    @property
    def listed(self) -> str:
        """Return the target as it stands in a list of results."""
        if self.read is not None:
            return self.title
        named = f"{'' if self.index is None else self.index} {self.label or ''}".strip()
        if self.region is not None:
            count = self.region.pixels
            named += f" @ {self.region.where}, {count} pixel{'s' if count > 1 else ''}"
        elif self.index is None:
            named = self.name
        return named if self.output is None else f"{self.output}: {named}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields in JSON types."""
        facts = asdict(self)
        return facts | {"box": facts["boxes"][0] if len(self.boxes) == 1 else None}


def box_name(index: int, label: str | None, rank: int) -> str:
    """The short name of a detected box, such as "0_person", or "0_person-2" for the second one."""
    name = target_name(index, label)
    return name if rank == 1 else f"{name}-{rank}"


def target_name(index: int, label: str | None) -> str:
    """Return a class's short name, such as "282_tiger_cat".

    If a label lists synonyms ("tabby, tabby cat"), only the first is used.
    """
    return part_name(str(index), (label or "").split(",")[0])


def part_name(*parts: str | None) -> str:
    """Return a short name made of the words of some texts, such as "char3_l_step7_Hello"."""
    spaced = ("".join(c if c.isalnum() or c in "-+" else " " for c in part or "") for part in parts)
    return "_".join(word for part in spaced for word in part.split())


def region_name(index: int, label: str | None, where: str) -> str:
    """Return the short name of a class in a region, such as "15_person@box_10-20-64-48"."""
    first = (label or "").split(",")[0].encode()[:_LABEL_BYTES].decode(errors="ignore")
    return area_name(target_name(index, first), where)


def area_name(what: str, where: str) -> str:
    """Return the short name of what is explained at a place, such as "output@224-110".

    If the name must be changed to be valid as a file name, such as the path of a mask, a checksum
    of `where` is added. So masks with the same name in two folders get different names.
    """
    numbers = _NUMBERS.fullmatch(where) is not None
    place = where.replace(",", "-") if numbers else where
    return fitted(f"{what}@{place}".replace(":", "_"), LONGEST_TARGET, where)


def reference_name(path: Path) -> str:
    """The short name of a similarity to a file, such as "similar_dog.jpg".

    If the file is in a folder, or its name must be changed, a checksum of its path is added. So
    files with the same name in two folders get different names.
    """
    name, written = f"similar_{path.name}", str(path)
    if written != path.name:
        return _checked(name, written)
    return fitted(name, LONGEST_TARGET, written)


def text_reference_name(text: str) -> str:
    """The short name of a similarity to a text, such as "similar_a_photo_of_a_cat".

    If the text does not follow from the name, a checksum of the text is added.
    """
    words = part_name(text)
    name = f"similar_{words}"
    same = words.replace("_", " ") == text
    return fitted(name, LONGEST_TARGET, text) if same else _checked(name, text)


def compared_name(name: str) -> str:
    """The name of a target that is made of others; a long one is cut, and a checksum is added."""
    long = len(name.encode(errors="replace")) > LONGEST_TARGET
    return _checked(name, name) if long else name


def fitted(name: str, longest: int, source: str | None = None) -> str:
    """Return a name as a valid part of a file name of at most `longest` bytes.

    If it must be changed, a checksum of `source`, by default of the name, is added, so that
    different names stay different.
    """
    if safe_name(name, longest) == name:
        return name
    return _checked(name, name if source is None else source, longest)


def _checked(name: str, source: str, longest: int = LONGEST_TARGET) -> str:
    """A short safe name with a checksum of its source."""
    checksum = f"~{zlib.crc32(source.encode(errors='surrogateescape')):08x}"
    return safe_name(name, longest - len(checksum)) + checksum
