"""Run with `python -m tools.gradients`: tables in Markdown, of one check or of all checks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

_OUT = Path("out")
_REPORT = "gradients.md"

Lines = Iterator[str]


def main() -> None:
    """Print one check, or write all checks to a file."""
    parser = argparse.ArgumentParser(prog="python -m tools.gradients", description=__doc__)
    parser.set_defaults(run=None, folder=_OUT / "exports", families=[], cases="", rounds=15)
    commands = parser.add_subparsers()
    for name, (text, proof) in _PROOFS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=proof)
        if name in _OPTIONS:
            _OPTIONS[name](command)
    whole = commands.add_parser("all", help="all of these, written to a file (the default)")
    whole.add_argument("--out", type=Path, default=_OUT / _REPORT)
    whole.add_argument("--folder", type=Path, help="the exports; made where they are missing")
    parser.set_defaults(out=_OUT / _REPORT)
    given = parser.parse_args()
    if given.run is None:
        _all(given)
        return
    for line in given.run(given):
        print(line, flush=True)


def _all(given: argparse.Namespace) -> None:
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.folder.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8") as report:
        report.write("# Proofs of the gradients\n")
        for name, (text, proof) in _PROOFS.items():
            print(f"{name}: {text}", flush=True)
            report.write(f"\n## {name}: {text}\n\n")
            for line in proof(given):
                report.write(line + "\n")
                report.flush()
    print(f"written to {given.out}")


def _backend(given: argparse.Namespace) -> Lines:
    from tools.gradients.backend import verdicts
    from tools.gradients.verdict import listing, summary

    found = list(verdicts(given.cases))
    yield summary(found)
    yield f"\n```\n{listing(found)}```"


def _exports(given: argparse.Namespace) -> Lines:
    from tools.gradients.exports import HEADER, lines, rows

    yield HEADER
    failed = []
    for row in rows(given.folder, given.families):
        if isinstance(row, str):
            failed.append(row)
        else:
            yield lines(row)
    yield "\n" + "\n".join(f"- {line}" for line in failed)


def _models(given: argparse.Namespace) -> Lines:
    from tools.gradients.models import HEADER, rows

    yield HEADER
    yield from rows(given.rounds)


def _forms(_: argparse.Namespace) -> Lines:
    from tools.gradients.forms import HEADER, rows

    yield HEADER
    yield from rows()


def _onnx_ad(given: argparse.Namespace) -> Lines:
    from tools.gradients.ours import MODELS
    from tools.gradients.second_opinion import HEADER, rows

    # onnx-ad needs fixed sizes anyway.
    exports = [file for file in sorted(given.folder.glob("*.onnx")) if ".open" not in file.suffixes]
    yield HEADER
    yield from rows([*sorted(MODELS.glob("*.onnx")), *exports])


def _backend_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cases", default="", help="only names that this expression matches")


def _exports_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="the exports; made where they are missing")
    command.add_argument("families", nargs="*")


def _models_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rounds", type=int, default=15)


def _onnx_ad_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="exports to look at as well")


_PROOFS: dict[str, tuple[str, Callable[[argparse.Namespace], Lines]]] = {
    "backend": ("ONNX's node tests against finite differences", _backend),
    "exports": ("torchvision's families against torch", _exports),
    "models": ("the shipped models against torch, and their cost", _models),
    "forms": ("the shipped models as they are deployed", _forms),
    "onnx-ad": ("what onnx-ad says, where it accepts a model", _onnx_ad),
}
_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "backend": _backend_options,
    "exports": _exports_options,
    "models": _models_options,
    "onnx-ad": _onnx_ad_options,
}

if __name__ == "__main__":
    main()
