"""Run with `python -m tools.gradients backend|exports|models`: tables in Markdown."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.gradients", description=__doc__)
    commands = parser.add_subparsers(required=True)
    backend = commands.add_parser("backend", help="ONNX's node tests against finite differences")
    backend.add_argument("--cases", default="", help="only names that this expression matches")
    backend.add_argument("--out", type=Path, help="file for the list of all cases")
    backend.set_defaults(run=_backend)
    exports = commands.add_parser("exports", help="torchvision's families against torch")
    exports.add_argument("folder", type=Path, help="the exports; made where they are missing")
    exports.add_argument("families", nargs="*")
    exports.set_defaults(run=_exports)
    models = commands.add_parser("models", help="the shipped models against torch, and their cost")
    models.add_argument("--rounds", type=int, default=15)
    models.set_defaults(run=_models)
    given = parser.parse_args()
    given.run(given)


def _backend(given: argparse.Namespace) -> None:
    from tools.gradients.backend import listing, summary, verdicts

    found = list(verdicts(given.cases))
    print(summary(found))
    if given.out:
        given.out.write_text(listing(found), encoding="utf-8")


def _exports(given: argparse.Namespace) -> None:
    from tools.gradients.exports import HEADER, line, rows

    print(HEADER)
    for row in rows(given.folder, given.families):
        print(row if isinstance(row, str) else line(row), flush=True)


def _models(given: argparse.Namespace) -> None:
    from tools.gradients.models import HEADER, rows

    print(HEADER)
    for row in rows(given.rounds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
