"""An exported file as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from tiny import Array

import onnxplain
from onnxplain import Explainer

Run = Callable[..., dict[str, Array]]


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Run]:
    """Export, and return a function from inputs by name to outputs by name."""

    def make(explainer: Explainer, method: str, **options: Any) -> Run:
        path = onnxplain.export(explainer, tmp_path / "file.onnx", method, **options)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        taken = [value.name for value in session.get_inputs()]
        names = [value.name for value in session.get_outputs()]

        def run(x: Array | None, target: Any = None, **others: Array) -> dict[str, Array]:
            feeds = dict(others) if x is None else {explainer.input.name: x, **others}
            if target is not None:
                feeds["target"] = np.array(target)
            if "region" in taken and "region" not in others:
                feeds["region"] = np.zeros((len(target), *x.shape[2:]), np.uint8)
            return dict(zip(names, session.run(None, feeds), strict=True))

        return run

    return make
