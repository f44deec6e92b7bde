"""What `auto` takes is in the table that `python -m tools.evaluation.default_method` writes."""

import json
from pathlib import Path

import pytest

from onnxplain import Explainer

ROOT = Path(__file__).parents[2]
TABLE = json.loads((ROOT / "tools" / "evaluation" / "default_method.json").read_text())


@pytest.mark.parametrize("model", TABLE)
def test_the_default_cannot_be_told_apart_from_the_best(model: str) -> None:
    """Deletion is left out: on SqueezeNet noise is as good as the best method by it."""
    found = TABLE[model]
    explainer = Explainer(ROOT / "models" / f"{model}.onnx", provider="cpu")
    assert explainer.default_method()[0] == found["auto"]
    for metric in ("insertion", "pointing_game", "relevance_mass_accuracy"):
        assert found["auto"] in found["best"][metric]
