"""What a command says about a model, a run and its results, besides the results themselves."""

from __future__ import annotations

from pathlib import Path

from onnxplain.cli.console import Console, print_error
from onnxplain.errors import OnnxplainError, PictureError
from onnxplain.explainer import Explainer
from onnxplain.images.files import sidecar_path
from onnxplain.images.sources import WRITTEN_GUESS, is_guess
from onnxplain.jobs.inputs import InputImage
from onnxplain.methods.registry import AUTO
from onnxplain.results.data import MapData
from onnxplain.runtime.batching import Progress

_MANY_RUNS = 2000


def note_guess(origin: str, model: Path, console: Console) -> None:
    """Say that the preprocessing is a guess, where it is one."""
    if not is_guess(origin):
        return
    if origin.startswith(WRITTEN_GUESS):
        console.note(
            f"Note: the preprocessing is the guess that was written to {sidecar_path(model)}; "
            "correct it there, and remove its line 'origin'."
        )
    else:
        console.note(
            f"Note: the preprocessing is a guess; `onnxplain inspect {model} --write-sidecar` "
            "writes it to a file that you can correct."
        )


def note_choice(method: str, explainer: Explainer, console: Console) -> None:
    """Say which method "auto" was, and why."""
    if method == AUTO:
        name, why = explainer.default_method()
        console.note(f"Method: {name}, {why}; --method names another.")


def note_blank(explainer: Explainer, console: Console) -> None:
    """Say which class of a text recognizer was taken for the blank, where nobody said it."""
    alphabet = None if explainer.recognizer is None else explainer.recognizer.alphabet
    if alphabet is not None and alphabet.is_guess:
        console.note(
            f"Note: class {alphabet.blank} is taken for the blank, as it is {alphabet.origin}; "
            "--blank names another."
        )


def note_model(explainer: Explainer, console: Console) -> None:
    """With --verbose, say how pictures are prepared and which tensors the scores are in."""
    score = explainer.score_tensor
    console.detail(f"Preprocessing from: {explainer.origin}.")
    tensors = dict.fromkeys([score.logit, score.probability])
    console.detail(f"Scores in {', then '.join(map(repr, tensors))}.")


def note_random(explainer: Explainer, console: Console) -> None:
    """Say that the model draws random numbers, or normalizes by the batch, where it does."""
    warning = explainer.randomness().warning
    if warning:
        console.note(f"Warning: {warning}")


def note_details(explanation: MapData, console: Console) -> None:
    """With --verbose, say what one explanation cost and which options it used."""
    options = ", ".join(f"{name}={value}" for name, value in explanation.parameters.items())
    where = f"{explanation.source}, {explanation.target.title}"
    console.detail(f"{where}: {explanation.passes}; {options}.")


class Warnings:
    """Prints the warnings of the explanations of one command, each sentence once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()
        self._repeated = 0

    def note(self, explanation: MapData) -> None:
        """Print the warnings of an explanation that were not printed before."""
        sentences = set(explanation.diagnostics.get("warnings", ()))
        where = f"{explanation.source}, {explanation.method}, {explanation.target.name}"
        for sentence in sorted(sentences - self._said):
            self._console.note(f"Warning: {where}: {sentence}")
        self._repeated += bool(sentences & self._said)
        self._said |= sentences

    def note_repeats(self) -> None:
        """Say how many explanations had a warning that was printed before, if any had."""
        if self._repeated:
            maps = "1 more map" if self._repeated == 1 else f"{self._repeated} more maps"
            self._console.note(f"Note: {maps} had one of these warnings.")


def noting_cost(method: str, report: Progress, console: Console) -> Progress:
    """The same report of progress, which says once before many runs how many there will be."""
    noted = False

    def noting(done: int, total: int) -> None:
        nonlocal noted
        if total > _MANY_RUNS and not noted:
            noted = True
            console.note(
                f"Note: {method} runs the model {total:,} times for one picture or array; "
                f"`onnxplain methods {method}` lists the options that change that."
            )
        report(done, total)

    return noting


def print_picture_error(error: OnnxplainError, image: InputImage, of: str = "") -> None:
    """Say what is wrong with a picture, and which it is; the sentence begins with `of`."""
    known = isinstance(error, PictureError)
    print_error(f"{of}{error}" if known else f"{of}{image.source}: {error}")
