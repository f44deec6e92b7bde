"""`onnxplain run` with texts: explain them, show them, and save the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as Terminal

from onnxplain.cli.console import Console, braced, print_error
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import open_text_model, texts_of
from onnxplain.cli.profiling import report_profile
from onnxplain.errors import MapError, TextError
from onnxplain.methods.registry import AUTO
from onnxplain.results.formats.manifest import plain
from onnxplain.results.formats.text_files import (
    TEXT_FORMATS,
    check_text_formats,
    content,
    text_stem,
)
from onnxplain.results.formats.write import check_folder
from onnxplain.results.names import unique_names
from onnxplain.results.text_explanation import TextExplanation
from onnxplain.texts.tokens import Text


def run_texts(
    model: Path,
    method: str,
    targets: Sequence[str],
    out: Path,
    formats: str | None,
    console: Console,
    loading: Given,
    preprocess: Given,
    options: Given,
) -> int:
    """Explain every text and return the exit status.

    A text that the model does not take is reported, and the others go on; so is a target whose
    values show nothing.
    """
    wanted = list(TEXT_FORMATS) if formats is None else [one.strip() for one in formats.split(",")]
    check_text_formats(wanted)
    check_folder(out)
    texts = texts_of(loading)
    explainer = open_text_model(model, loading, preprocess)
    status, several = 0, len(texts) > 1
    shown: list[TextExplanation] = []
    for text, name in zip(texts, unique_names(map(_name, texts)), strict=True):
        try:
            found = explainer.try_text(text, method, targets, **options)
        except TextError as error:
            print_error(f"{_name(text)}: {error}" if several else str(error))
            status = error.exit_status
            continue
        for one in found:
            if isinstance(one, MapError):
                print_error(f"{_name(text)}: {one}")
                status = one.exit_status
            else:
                shown.append(one)
                _report(one, name, one.save(out, wanted, name=name), console)
    report_profile(explainer, out, console)
    if method == AUTO and shown:
        console.note(f"Method: {shown[0].method}; --method names another.")
    return status


def _name(text: Text) -> str:
    first = text if isinstance(text, str) else text[0]
    return " ".join(first.split()[:_WORDS])


_WORDS = 5
"""Words of a text in the names of files and in messages."""


def _report(
    explanation: TextExplanation, name: str, files: Sequence[Path], console: Console
) -> None:
    target = explanation.target
    if console.as_json:
        manifest = plain(content(explanation, {}))
        kept = "text", "method", "target", "score", "absent", "provider", "batching"
        facts = {key: manifest[key] for key in kept}
        console.result(json.dumps(facts | {"files": [str(path) for path in files]}))
    elif not console.quiet:
        Terminal(highlight=False).print(explanation)
        named = target.name if target.index is None else f"{target.index} {target.label or ''}"
        saved = braced(files, text_stem(explanation, name))
        console.result(f"{named.strip()}, {explanation.scored}, {explanation.how} -> {saved}")
    for sentence in explanation.diagnostics.get("warnings", ()):
        console.note(f"Warning: {explanation.name}, {target.name}: {sentence}")
    parameters = ", ".join(f"{name}={value}" for name, value in explanation.parameters.items())
    console.detail(f"Embedding {explanation.embedding}; {parameters}.")
