"""Which method `auto` should take: `python -m tools.default_method`.

For each shipped model and each candidate it measures deletion, insertion, the pointing game and
the relevance mass accuracy of `onnxplain.metrics`, and writes a summary to `default_method.json` in
this folder, and tables as Markdown to standard output. docs/methods/pointing.md says what follows
for `auto`, and why it is not always what is recommended.
What was measured already is kept in the folder that --cache names.

For the networks on ImageNet the pictures are photographs, alone and in pairs next to each other or
one above the other: then half of the picture is the object. For the digit models they are scenes,
and the object is the box of a digit.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np

import onnxplain
from onnxplain.images.annotations import BoxShape, Coco, Objects, Region
from onnxplain.metrics.evaluation import REFERENCES, Evaluation, Measurable
from onnxplain.metrics.records import Record, RecordFile
from onnxplain.metrics.registry import make_metric
from onnxplain.metrics.summary import Summary, summarized
from onnxplain.results.formats.png_file import encode_png
from onnxplain.tensors import Array

MODELS = Path(__file__).parents[1] / "models"
CANDIDATES = (
    "hirescam",
    "gradcam",
    "layercam",
    "lrp",
    "gradient",
    "occlusion",
)
_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "camera.png")
_SIDE = 512

METRICS: Mapping[str, Mapping[str, int]] = {
    "deletion": {"steps": 8},
    "insertion": {"steps": 8},
    "pointing_game": {},
    "relevance_mass_accuracy": {},
}
MOST_PASSES = 3
TABLE = Path(__file__).with_name("default_method.json")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A picture, the class to explain, and the box that its object is in; None for all of it."""

    pixels: Array
    target: int
    box: Box | None


def photographs(explainer: onnxplain.Explainer) -> list[Case]:
    """Each photograph alone, and each pair of them side by side and one above the other."""
    known = {}
    for name in _PHOTOGRAPHS:
        pixels = onnxplain.read_picture(MODELS / "pictures" / name).astype(np.uint8)
        index = explainer.explain(pixels, "gradient").target.index
        assert index is not None, "classifiers are compared"
        known[name] = pixels, index
    cases = [Case(pixels, target, None) for pixels, target in known.values()]
    half = _SIDE // 2
    for (one, target), (other, _) in itertools.permutations(known.values(), 2):
        joined = np.concatenate([_filled(p, (half, _SIDE)) for p in (one, other)], axis=1)
        cases.append(Case(joined, target, (0, 0, half, _SIDE)))
        joined = np.concatenate([_filled(p, (_SIDE, half)) for p in (other, one)], axis=0)
        cases.append(Case(joined, target, (0, half, _SIDE, _SIDE)))
    return cases


def _filled(pixels: Array, size: tuple[int, int]) -> Array:
    """The center of a picture, as large as fits (width, height)."""
    width, height = size
    factor = max(width / pixels.shape[1], height / pixels.shape[0])
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return np.asarray(large[top : top + height, left : left + width])


def digits(explainer: onnxplain.Explainer) -> list[Case]:
    """The shipped scenes, each digit in them that is found."""
    return _scenes("scenes")


def detected(explainer: onnxplain.Explainer) -> list[Case]:
    """The scenes of the detector, each digit in them."""
    return _scenes("detector_scenes")


def _scenes(folder: str) -> list[Case]:
    found = []
    for name, objects in json.loads((MODELS / folder / "scenes.json").read_text()).items():
        pixels = onnxplain.read_picture(MODELS / folder / name).astype(np.uint8)
        for one in objects["objects"]:
            left, top, right, bottom = one["box"]
            found.append(Case(pixels, one["class"], (left, top, right, bottom)))
    return found


MODELS_AND_CASES = {
    "efficientnet_lite0": photographs,
    "squeezenet1_1": photographs,
    "digit_vit": digits,
    "digit_detector": detected,
}


def records(
    explainer: onnxplain.Explainer, cases: Sequence[Case], folder: Path
) -> Iterator[Record]:
    """The records of every case: each is a file in the folder, with its own target."""
    folder.mkdir(parents=True, exist_ok=True)
    file = RecordFile(folder / "records.jsonl")
    methods = [explainer.configured(name, {}) for name in CANDIDATES]
    metrics = [make_metric(name, options) for name, options in METRICS.items()]
    for i, case in enumerate(cases):
        path = folder / f"{i}.png"
        path.write_bytes(encode_png(case.pixels))
        regions = [] if case.box is None else [Region("", BoxShape(*case.box))]
        boxes = Coco(Path("boxes"), {PurePath(path.name): Objects(regions)})
        evaluation = Evaluation(
            explainer, methods, metrics, str(case.target), tuple(REFERENCES), boxes
        )
        yield from evaluation.run([Measurable(path, path.name, path)], file)
    file.close()


def table(summary: Summary) -> str:
    """The summary as Markdown."""
    names = [metric.name for metric in summary.metrics]
    lines = [
        f"| method | {' | '.join(names)} | passes |",
        f"| --- | {' | '.join(['---:'] * (len(names) + 1))} |",
    ]
    best = {metric.name: summary.best(metric) for metric in summary.metrics}
    for name in (*summary.methods, *summary.references):
        cells = [summary.cells[metric].get(name) for metric in names]
        shown = [
            "–" if cell is None else f"{cell.mean:.2f}{'*' if name in best[metric] else ''}"
            for metric, cell in zip(names, cells, strict=True)
        ]
        cost = summary.costs.get(name)
        passes = "" if cost is None else f"{cost.passes:.0f}"
        lines.append(f"| `{name}` | {' | '.join(shown)} | {passes} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="keep measurements here")
    cache = parser.parse_args().cache
    facts = {}
    for name, cases_of in MODELS_AND_CASES.items():
        explainer = onnxplain.Explainer(MODELS / f"{name}.onnx", provider="cpu")
        cases = cases_of(explainer)
        found = list(records(explainer, cases, cache / name))
        metrics = [make_metric(metric, options) for metric, options in METRICS.items()]
        summary = summarized(found, CANDIDATES, tuple(REFERENCES), metrics)
        cheap = [one for one in CANDIDATES if one in summary.costs]
        cheap = [one for one in cheap if summary.costs[one].passes <= MOST_PASSES]
        of_cheap = summarized(found, cheap, tuple(REFERENCES), metrics)
        facts[name] = {
            "pictures": len(cases),
            "auto": explainer.default_method()[0],
            "recommended": of_cheap.recommended,
            "best": {metric.name: of_cheap.best(metric) for metric in metrics},
            "recommended_of_all": summary.recommended,
        }
        print(f"\n{name}, {len(cases)} pictures\n\n{table(summary)}", flush=True)
    TABLE.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
