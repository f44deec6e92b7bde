"""Command line: build the files in `models/`, check those that ship, or measure the models."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from . import catalog
from .check import compare
from .sources import BuildError

MODELS_FOLDER = Path(__file__).parents[2] / "models"


def build(out: Path, cache: Path) -> int:
    for path, data in catalog.files(cache):
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        print(f"{target}: {len(data):,} bytes")
    return 0


def check(out: Path, cache: Path) -> int:
    complaints = {path: compare(out / path, data) for path, data in catalog.files(cache)}
    for path, complaint in complaints.items():
        print(f"{path}: {complaint or 'same'}")
    return 1 if any(complaints.values()) else 0


def report(out: Path, _: Path) -> int:
    # Imported here, because building needs no ONNX Runtime.
    from .report import table

    print(table(out))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.build_models", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=MODELS_FOLDER, help="the models' folder (default: %(default)s)"
    )
    parser.add_argument(
        "--cache", type=Path, help="keep downloads here (default: a folder that is then removed)"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check",
        dest="action",
        action="store_const",
        const=check,
        help="rebuild and compare; status 1 if anything differs",
    )
    action.add_argument(
        "--report",
        dest="action",
        action="store_const",
        const=report,
        help="print each model's answer to each picture",
    )
    parser.set_defaults(action=build)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        cache = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            status: int = options.action(options.out, cache)
        except BuildError as error:
            print(error, file=sys.stderr)
            return 1
    return status


sys.exit(main())
