"""The page and the JSON file of a comparison of two models."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxplain.counts import counted
from onnxplain.reports.difference import LEAST_MOVED, NORMAL, Comparison, Pair
from onnxplain.reports.page import render
from onnxplain.reports.pictures import heat_address, picture_address
from onnxplain.results.formats.manifest import as_json

VERSION = 1
"""Of the format of `diff.json`."""

_LISTED = 100


def difference_page(found: Comparison) -> bytes:
    """One HTML file that needs no other file and no network."""
    moved = np.median([pair.moved for pair in found.pairs])
    own = np.median([pair.own for pair in found.pairs])
    return render(
        "diff.html",
        found=found,
        pictures=counted(len(found.pairs), "picture"),
        same=not found.elsewhere and not found.disagree,
        medians=(f"{moved:.1%}", f"{own:.1%}"),
        limit=f"{found.limit:.0%}",
        least=f"{LEAST_MOVED:.0%}",
        drawn=[_row(found, pair) | _drawn(pair) for pair in found.pairs if pair.heats is not None],
        rows=[_row(found, pair) for pair in found.pairs[:_LISTED]],
        hidden=max(0, len(found.pairs) - _LISTED),
        failed=list(found.failed.items()),
    )


def difference_json(found: Comparison) -> bytes:
    """The file `diff.json`; see docs/report.md."""
    return as_json(
        {
            "onnxplain": {"diff": VERSION},
            "models": list(found.models),
            "method": found.method,
            "verdict": found.verdict,
            "limit": found.limit,
            "thresholds": {"least_moved": LEAST_MOVED, "normal": NORMAL},
            "same_answer": len(found.pairs) - len(found.disagree),
            "elsewhere": len(found.elsewhere),
            "pictures": [
                {
                    "input": pair.input,
                    "answers": list(pair.answers),
                    "target": pair.target,
                    "moved": pair.moved,
                    "own_variation": pair.own,
                    "rank_correlation": pair.correlation,
                    "ssim": pair.ssim,
                    "elsewhere": found.differs(pair),
                }
                for pair in found.pairs
            ],
            "failed": found.failed,
        }
    )


def _row(found: Comparison, pair: Pair) -> dict[str, Any]:
    return {
        "input": pair.input,
        "answers": pair.answers,
        "agree": pair.agree,
        "target": pair.target,
        "moved": f"{pair.moved:.0%}",
        "own": f"{pair.own:.0%}",
        "correlation": f"{pair.correlation:.2f}",
        "ssim": f"{pair.ssim:.2f}",
        "differs": found.differs(pair),
    }


def _drawn(pair: Pair) -> dict[str, str]:
    assert pair.picture is not None and pair.heats is not None
    first, second = (heat_address(pair.picture, heat) for heat in pair.heats)
    return {"plain": picture_address(pair.picture), "first": first, "second": second}
