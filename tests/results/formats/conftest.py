from pathlib import Path

import numpy as np
import pytest

from onnxplain.results.explanation import Explanation, ModelFacts, Provenance
from onnxplain.targets.described import ExplainedTarget


@pytest.fixture
def explanation() -> Explanation:
    """An explanation whose arrays have no two equal numbers, so that mixing them up is detected."""
    rng = np.random.default_rng(7)
    heatmap = np.linspace(0, 1, 30 * 40, dtype=np.float32)
    return Explanation(
        values=(rng.standard_normal((3, 5, 7)) * 10.0 ** rng.integers(-30, 30, (3, 5, 7))).astype(
            np.float32
        ),
        heatmap=rng.permutation(heatmap).reshape(30, 40),
        heatmap_range=(-0.25, 3.5),
        picture=rng.integers(0, 256, (30, 40, 3), dtype=np.uint8),
        method="scorecam",
        target=ExplainedTarget.of_class(282, "tiger cat"),
        score=12.8125,
        score_kind="logit",
        score_tensor="/classifier/Gemm_output_0",
        parameters={"relu": True, "fill": "black"},
        provenance=Provenance(
            model=ModelFacts(Path("model.onnx"), "ab" * 32, 17, "pixels", ("logits", "features")),
            preprocess={"crop": (16, 0, 224, 224), "mean": np.float32(0.5)},
            provider="CPUExecutionProvider",
            versions={"onnxplain": "0.1.0"},
            device={"type": "cpu", "index": 0, "vendor": "AMD"},
            provider_options={"arena": "1"},
            threads=2,
        ),
        layers=("/head/Conv",),
        diagnostics={"session_runs": 41},
        picture_path=Path("pictures/chelsea.png"),
    )
