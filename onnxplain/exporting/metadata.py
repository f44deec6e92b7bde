"""What an exported file says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto

from onnxplain.explainer import Explainer
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.parts import Names
from onnxplain.exporting.targets import FileTarget
from onnxplain.model.model import KEY
from onnxplain.versions import versions

_SMALL = 64
"""Elements of an array that are written as numbers."""


def described(
    proto: ModelProto, explainer: Explainer, planned: Planned, chosen: FileTarget, names: Names
) -> ModelProto:
    """The graph with the metadata that says how it was made."""
    proto.producer_name = "onnxplain"
    proto.producer_version = versions()["onnxplain"]
    proto.graph.name = proto.graph.name or "model"
    del proto.metadata_props[:]
    for name, value in explainer.model.metadata.items():
        if not name.startswith(KEY):
            proto.metadata_props.add(key=name, value=value)
    facts = _facts(explainer, planned, chosen, names)
    for name, value in facts.items():
        proto.metadata_props.add(key=KEY + name, value=value)
    return proto


def _facts(
    explainer: Explainer, planned: Planned, chosen: FileTarget, names: Names
) -> Mapping[str, str]:
    method = planned.method
    facts: dict[str, str] = {
        "version": versions()["onnxplain"],
        "method": method.name,
        "options": json.dumps(method.options(), default=_plain),
        "model_sha256": explainer.model.sha256,
        "target": chosen.means or chosen.target.name,
        "names": json.dumps(vars(names)),
        "input": planned.plan.spec.name,
        "input_size": json.dumps(planned.scene.places),
        "layers": json.dumps([layer.tensor for layer in planned.plan.layers]),
    }
    if explainer.output is not None:
        facts["output"] = explainer.output
    if explainer.fixed_random:
        facts["fixed_random"] = json.dumps([node for node, _ in explainer.fixed_random])
    if chosen.spec is not None:
        facts["fixed_target"] = chosen.spec
    if explainer.model.path is not None:
        facts["model"] = explainer.model.path.name
    if planned.scene.colors is not None:
        facts["preprocess"] = json.dumps(explainer.preprocess.to_dict(), default=_plain)
    labels = explainer.labels
    if labels is not None:
        named = [labels.name(index) for index in range(labels.last + 1)]
        facts["labels"] = json.dumps(named, ensure_ascii=False)
    return facts


def _plain(value: Any) -> Any:
    """An option that JSON does not know: a small array as numbers, a large one by its hash."""
    if not isinstance(value, np.ndarray):
        return str(value)
    if value.size <= _SMALL:
        return value.tolist()
    return {"shape": value.shape, "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
