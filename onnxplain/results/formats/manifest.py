"""The manifest: what was computed, how, with what, and which files hold it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from onnxplain.results.data import ExplanationData, MapData, ModelFacts, Provenance
from onnxplain.tensors import Array

MANIFEST_VERSION = 1

_CONVENTIONS = {
    "values": "float32, C order, signed, as the method's formula gives them, never rescaled",
    "heatmap": "float32 from 0 to 1 on the pixels of the original picture, top row first, or on"
    " the places of an array; 0 and 1 represent the two ends of heatmap.range",
    "resizing": "bilinear with half-pixel centers",
    "score": "logit: the tensor before a final Softmax, LogSoftmax or Sigmoid;"
    " probability: the tensor after it; confidence: the score of a detected box;"
    " cosine similarity: of the tensor and a reference",
    "numbers": "null means a number that is not finite",
}
_LARGEST_LIST = 64  # elements of an array that are written out; a larger one is summarized


def encode(explanation: ExplanationData, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest as strict JSON in UTF-8, without NaN and infinity; it lists `files`."""
    return as_json(content(explanation, files))


def as_json(content: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """The content of a manifest, or other values, as strict JSON in UTF-8."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    # A path that is not valid UTF-8 has lone surrogates. Their Python escape is valid in JSON.
    return f"{text}\n".encode(errors="backslashreplace")


def content(explanation: ExplanationData, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of a manifest, with values that `plain` must still convert to JSON types."""
    provenance = explanation.provenance
    return {
        "onnxplain": {"manifest": MANIFEST_VERSION},
        "model": of_model(provenance.model),
        **source(explanation),
        "preprocess": provenance.preprocess,
        **of_map(explanation),
        "parameters": explanation.parameters,
        "diagnostics": explanation.diagnostics,
        **({"quality": explanation.quality} if explanation.quality else {}),
        "values": {"shape": explanation.values.shape, "range": explanation.values_range},
        "heatmap": {"shape": explanation.heatmap.shape, "range": explanation.heatmap_range},
        **of_execution(provenance),
        "versions": provenance.versions,
        "conventions": _CONVENTIONS,
        "files": of_files(files),
    }


def of_model(model: ModelFacts) -> dict[str, Any]:
    """What a manifest says about the model."""
    return {
        "path": model.path,
        "sha256": model.sha256,
        "opset": model.opset,
        "input": model.input_name,
        "outputs": model.output_names,
        "fixed_random": model.fixed_random,
    }


def of_execution(provenance: Provenance) -> dict[str, Any]:
    """What a manifest says about where and how the model was run."""
    return {
        "provider": provenance.provider,
        "device": provenance.device,
        "provider_options": provenance.provider_options,
        "threads": provenance.threads,
        "batching": provenance.batching,
    }


def of_files(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """What a manifest says about the other files."""
    return [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]


def of_map(data: MapData) -> dict[str, Any]:
    """What a manifest says about what was explained, and where the model looked."""
    return {
        "method": data.method,
        "layers": data.layers,
        "target": data.target.to_dict(),
        "score": {"kind": data.score_kind, "value": data.score, "tensor": data.score_tensor},
    }


def source(data: MapData) -> dict[str, dict[str, Any]]:
    """The picture that was explained, under "picture", or what is known of an array, "array"."""
    path = {"path": data.picture_path or data.address}
    if data.array is not None:
        return {"array": path | asdict(data.array)}
    height, width = data.size
    return {"picture": path | {"width": width, "height": height}}


def plain(value: Any) -> Any:
    """Convert a value to types that strict JSON can represent.

    Numbers that are not finite become null. A small array becomes a list, a large one its shape,
    type and hash. A value of any other type becomes its text.
    """
    match value:
        case None | bool() | int() | float() | str():
            return None if isinstance(value, float) and not math.isfinite(value) else value
        case np.ndarray() if value.size > _LARGEST_LIST:
            return _summary(value)
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return str(value)


def _summary(array: Array) -> dict[str, Any]:
    data = np.ascontiguousarray(array)
    digest = hashlib.sha256(data.tobytes()).hexdigest()
    return {"shape": list(data.shape), "dtype": str(data.dtype), "sha256": digest}
