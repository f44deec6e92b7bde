"""`onnxplain run`: explain pictures and save the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxplain.cli.console import Console, print_error
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import method_options, open_model
from onnxplain.cli.pictures import (
    errors_of_one_picture,
    find_sitters,
    gray,
    no_sitter,
    note_guess,
    note_warnings,
    told_apart,
)
from onnxplain.errors import PictureError
from onnxplain.methods.registry import make_method
from onnxplain.results.explanation import Explanation
from onnxplain.results.formats import check_formats
from onnxplain.results.formats.manifest import plain
from onnxplain.results.formats.stem import file_stem
from onnxplain.results.formats.write import check_folder
from onnxplain.results.render import check_colormap


@dataclass(frozen=True)
class Saving:
    """Where explanations go, and as what."""

    folder: Path
    formats: Sequence[str]
    colormap: str

    def check(self) -> None:
        """Raise OnnxplainError for what would else fail only when there is something to save."""
        check_formats(self.formats)
        check_colormap(self.colormap)
        check_folder(self.folder)

    def save(self, explanation: Explanation, name: str) -> list[Path]:
        """Write one explanation's files; `name` stands for the picture in their names."""
        return explanation.save(
            self.folder, self.formats, colormap=self.colormap, picture_name=name
        )


def explain_pictures(
    model: Path,
    images: Sequence[str],
    *,
    method: str,
    targets: Sequence[str],
    options: Given,
    loading: Given,
    preprocess: Given,
    saving: Saving,
    console: Console,
) -> int:
    """Explain every picture and return the exit status.

    A picture that cannot be read or explained is reported, and the others go on; so is a target
    whose map shows nothing.
    """
    # Whatever can be wrong without the model is said before it is loaded.
    starts_from_none = make_method(method, options).makes_picture and not images
    saving.check()
    sitters = [no_sitter(model)] if starts_from_none else find_sitters(images)
    explainer = open_model(model, loading, preprocess)
    note_guess(explainer.preprocess, model, console)
    own = method_options(options, explainer)
    status = 0
    ways: dict[str, None] = {}
    for sitter in sitters:
        try:
            with console.progress(sitter.title) as report:
                explainer.on_progress(report)
                picture = gray(explainer) if starts_from_none else sitter.path
                found = explainer.try_each(picture, method, targets, **own)
        except errors_of_one_picture(explainer) as error:
            known = isinstance(error, PictureError)
            print_error(str(error) if known else f"{sitter.path}: {error}")
            status = error.exit_status
            continue
        # The same class may have been asked for twice, as in "top1,282".
        shown, empty = told_apart(found)
        for explanation in {e.target.name: e for e in shown}.values():
            _deliver(explanation, sitter.name, saving, console)
            note_warnings(explanation, console)
            ways[_way(explanation)] = None
        for nothing in empty:
            print_error(f"{sitter.path}: {nothing}")
            status = nothing.exit_status
    for way in ways:
        console.note(f"Ran on {way}.")
    return status


def _deliver(explanation: Explanation, name: str, saving: Saving, console: Console) -> None:
    """Save an explanation, and print the line that tells of it."""
    files = saving.save(explanation, name)
    if console.as_json:
        console.result(_as_json(explanation, files))
    else:
        console.result(_as_line(explanation, _braced(files, file_stem(explanation, name))))


def _way(explanation: Explanation) -> str:
    """The provider that really ran, and how it took several samples."""
    provenance = explanation.provenance
    return ", ".join(filter(None, [provenance.provider, provenance.batching]))


def _as_line(explanation: Explanation, files: str) -> str:
    """The picture, what was explained, and its files."""
    target = explanation.target
    named = target.name if target.index is None else f"{target.index} {target.label or ''}".strip()
    if target.region is not None:
        named += f" @ {target.region.where}, {target.region.pixels} pixels"
    facts = [
        f"{explanation.picture_path or 'no picture'}: {named}",
        explanation.scored,
        explanation.looked_at if explanation.layers else "",
    ]
    return f"{', '.join(filter(None, facts))} -> {files}"


def _braced(files: Sequence[Path], stem: str) -> str:
    """Paths that differ in their endings only, as a shell takes them."""
    endings = [path.name.removeprefix(stem) for path in files]
    return (
        str(files[0].with_name(f"{stem}{{{','.join(endings)}}}")) if endings[1:] else str(files[0])
    )


def _as_json(explanation: Explanation, files: Sequence[Path]) -> str:
    """One line of JSON; names and nesting are those of the manifest."""
    target, provenance = explanation.target, explanation.provenance
    return json.dumps(
        {
            "picture": None if explanation.picture_path is None else str(explanation.picture_path),
            "method": explanation.method,
            "layers": explanation.layers,
            "target": target.to_dict(),
            "score": {
                "kind": explanation.score_kind,
                "value": plain(explanation.score),
                "tensor": explanation.score_tensor,
            },
            "provider": provenance.provider,
            "batching": provenance.batching,
            "files": [str(path) for path in files],
        }
    )
