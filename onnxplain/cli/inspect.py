"""`onnxplain inspect`: what is known about a model before anything is explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxplain.analysis.batch_axis import has_fixed_batch
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.randomness import NamedNode, listed
from onnxplain.cli.console import echo, echo_json
from onnxplain.cli.detections import box_lines, find_boxes
from onnxplain.cli.flags import Given
from onnxplain.cli.loading import open_any_model
from onnxplain.cli.parameters import DEFAULT_OUT, AsJson, ModelPath, Out
from onnxplain.cli.recognized import find_text, text_lines
from onnxplain.cli.tables import print_table
from onnxplain.errors import LayerError, OnnxplainError, OptionError
from onnxplain.explainer import Explainer
from onnxplain.explainer.detector import require_known
from onnxplain.images.files import read_sidecar, sidecar_path
from onnxplain.results.formats.write import write_files
from onnxplain.tensors import TensorSpec

Facts = dict[str, Any]

_LONGEST_VALUE = 60
_LABELS_SHOWN = 5
_NODES_SHOWN = 3
_TEXTS_SHOWN = 2


def command(
    *,
    model: ModelPath,
    all_layers: Annotated[
        bool,
        typer.Option(
            "--all", metavar="", help="List every layer with a grid, not just the main ones."
        ),
    ] = False,
    write_sidecar: Annotated[
        bool,
        typer.Option(
            "--write-sidecar",
            metavar="",
            help="Write the preprocessing to MODEL's sidecar file, to be corrected there.",
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="List the boxes that a detector finds in a picture, and draw them; for a text "
            "recognizer, the characters that it reads.",
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    as_json: AsJson = False,
    loading: Given,
    preprocess: Given,
) -> None:
    """Print what is known about a model, or found in a picture, for people or as one JSON object.

    Raises:
        OnnxplainError: the model cannot be loaded, or has no input or score to explain; the sidecar
            file exists, or cannot be written.
    """
    explainer = open_any_model(model, loading, preprocess)
    if write_sidecar:
        echo(f"Wrote {_write_sidecar(model, explainer)}.", err=True)
    if picture is not None:
        if explainer.recognizer is None:
            found, lines = find_boxes(explainer, picture, out), box_lines
        else:
            found, lines = find_text(explainer, picture), text_lines
        if as_json:
            echo_json(found, indent=2)
        else:
            for line in lines(found):
                echo(line)
        return
    facts = describe(explainer, all_layers=all_layers)
    if as_json:
        echo_json(facts, indent=2)
    else:
        _print(facts)


def _write_sidecar(model: Path, explainer: Explainer) -> Path:
    """Write the settings that are used now, in the form that the sidecar file is read in."""
    path, sidecar = sidecar_path(model), read_sidecar(model)
    kept = {} if sidecar is None else sidecar.content
    if "preprocess" in kept:
        raise OptionError(f"{path} exists: edit it, or remove it first.")
    settings = explainer.preprocess.to_dict()
    del settings["dtype"]
    content = json.dumps({"preprocess": settings, **kept}, indent=2) + "\n"
    (written,) = write_files(path.parent, {path.name: content.encode()})
    return written


def describe(explainer: Explainer, *, all_layers: bool) -> Facts:
    """What is known about a model, in JSON types.

    A part that cannot be had is an object with the one key "problem", a sentence.
    """
    model, score = explainer.model, explainer.score_tensor
    return {
        "model": _file_facts(explainer),
        "inputs": [
            _tensor(spec, explained=spec.name == explainer.input.name) for spec in model.inputs
        ],
        "outputs": [_tensor(spec, score=spec.name == score.probability) for spec in model.outputs],
        "score": _facts(score, "logit", "probability", "activation"),
        **{name: _tried(facts, explainer) for name, (facts, _) in _PARTS.items()},
        "layers": _tried(partial(_layer_facts, all_layers=all_layers), explainer),
    }


def _tried(facts: Callable[[Explainer], Any], explainer: Explainer) -> Any:
    try:
        return facts(explainer)
    except OnnxplainError as error:
        return {"problem": str(error)}


def _facts(one: object, *names: str) -> Facts:
    return {name: getattr(one, name) for name in names}


def _file_facts(explainer: Explainer) -> Facts:
    model, proto = explainer.model, explainer.model.proto
    return {
        "path": str(model.path),
        "sha256": model.sha256,
        "ir_version": proto.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "nodes": len(model.index.nodes),
        "metadata": model.metadata,
    }


def _tensor(spec: TensorSpec, **marks: bool) -> Facts:
    shape = None if spec.shape is None else list(spec.shape)
    return {"name": spec.name, "dtype": spec.dtype.name, "shape": shape, **marks}


def _preprocess_facts(explainer: Explainer) -> Facts | None:
    return None if explainer.reads_texts else explainer.preprocess.to_dict()


def _tokenizer_facts(explainer: Explainer) -> Facts | None:
    return dict(explainer.tokenizer.settings) if explainer.reads_texts else None


def _label_facts(explainer: Explainer) -> Facts | None:
    labels = explainer.labels
    if labels is None:
        return None
    names = [labels.names[index] for index in sorted(labels.names)]
    return {"count": len(labels), "origin": labels.origin, "names": names}


def _embedding_facts(explainer: Explainer) -> Facts | None:
    return {"sign": explainer.embedding} if explainer.embedding else None


def _detector_facts(explainer: Explainer) -> Facts | None:
    if explainer.detector is None:
        require_known(explainer.model)
        return None
    return _facts(explainer.detector, "layout", "origin")


def _answer_facts(explainer: Explainer) -> Facts:
    own = explainer.score_tensor.probability
    others = [spec.name for spec in explainer.model.outputs if spec.name != own]
    return asdict(explainer.answer()) | {"output": own, "other_outputs": others}


def _text_facts(explainer: Explainer) -> Facts | None:
    found = explainer.recognizer
    if found is None:
        return None
    own, count = found.alphabet, {"steps": found.shape[found.axes.steps]}
    return {"axes": found.axes.text, **count, "classes": own.count} | {
        "blank": own.blank,
        "origin": own.origin,
        "characters": len(own.names),
    }


def _batch_facts(explainer: Explainer) -> Facts:
    fixed = has_fixed_batch(explainer.model.proto, explainer.input.name)
    return {"fixed": fixed, "runs": explainer.batching(), "provider": explainer.provider}


def _random_facts(explainer: Explainer) -> Facts:
    found = explainer.randomness()
    parts = {
        "nodes": [*found.nodes, *found.suspects],
        "of_batch": found.of_batch,
        "fixed": explainer.fixed_random,
    }
    return {name: [one._asdict() for one in nodes] for name, nodes in parts.items()} | {
        "cause": found.cause
    }


def _gradient_facts(explainer: Explainer) -> Facts:
    found = explainer.differentiability()
    missing, cuts = ([asdict(one) for one in several] for several in (found.missing, found.cuts))
    return _facts(found, "complete", "target") | {"missing": missing, "cut_off_by": cuts}


def _cam_facts(explainer: Explainer) -> Facts | None:
    if explainer.reads_texts:
        return None
    classifier = explainer.classifier()
    return {"layer": explainer.layer(classifier.layer).tensor, "pooling": classifier.pooling}


def _layer_facts(explainer: Explainer, *, all_layers: bool) -> list[Facts]:
    if explainer.reads_texts:
        return []
    layers = explainer.layers()
    try:
        auto = {layer.tensor for layer in explainer.auto_layers()}
    except LayerError:
        auto = set()
    chosen = layers if all_layers else _last_of_each_grid(layers, auto)
    return [
        {
            **_facts(layer, "tensor", "node", "op", "shape", "channels", "grid"),
            "auto": layer.tensor in auto,
            "warning": explainer.warning() if layer.tensor in auto else "",
        }
        for layer in chosen
    ]


def _last_of_each_grid(layers: Iterable[Layer], auto: Collection[str]) -> list[Layer]:
    """Of the layers that every path from the picture passes, the last of each resolution."""
    kept = [layer for layer in layers if layer.whole or layer.tensor in auto]
    last = {layer.grid: layer for layer in kept}
    return [layer for layer in kept if last[layer.grid] is layer or layer.tensor in auto]


def _print(facts: Facts) -> None:
    print_table(("model", facts["model"]["path"]), _lines(facts))
    echo()
    layers = facts["layers"] or {"problem": "No layer has rows and columns of more than one cell."}
    if "problem" in layers:
        echo(layers["problem"])
        return
    print_table(("layer", "op", "channels", "grid", ""), map(_layer_row, layers))
    for warning in filter(None, (layer["warning"] for layer in layers)):
        echo()
        echo(warning)


def _layer_row(layer: Facts) -> tuple[str, ...]:
    auto = "auto" if layer["auto"] else ""
    return layer["tensor"], layer["op"], str(layer["channels"]), _times(layer["grid"]), auto


def _lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """What is known, apart from the layers, as names and short texts."""
    file = facts["model"]
    opsets = ", ".join(f"{domain} {version}" for domain, version in file["opsets"].items())
    yield "format", f"IR {file['ir_version']}, opset {opsets}, {file['nodes']} nodes"
    yield "producer", file["producer"] or "not said"
    yield "sha256", file["sha256"]
    for key, value in file["metadata"].items():
        yield f"metadata {key}", _short(value)
    for spec in facts["inputs"]:
        yield "input", _spec_text(spec) + (", explained" if spec["explained"] else "")
    for spec in facts["outputs"]:
        yield "output", _spec_text(spec) + (", scores" if spec["score"] else "")
    yield "score", _score_text(facts["score"])
    for name, (_, text) in _PARTS.items():
        known = facts[name]
        said = known["problem"] if known and "problem" in known else text(known)
        if said:
            yield name, said
        if name == "answer" and "problem" not in known:
            yield from _target_rows(known)


def _spec_text(spec: Facts) -> str:
    shape = "of unknown shape" if spec["shape"] is None else f"({_listed(spec['shape'])})"
    return f"{spec['name']} {spec['dtype']} {shape}"


def _score_text(score: Facts) -> str:
    if score["activation"] == "none":
        return f"{score['logit']}, with no activation after it"
    return f"{score['logit']}, before a final {score['activation']}"


def _preprocess_text(settings: Facts | None) -> str:
    if settings is None:
        return ""
    shown = {k: _setting(v) for k, v in settings.items() if k != "origin" and v is not None}
    return f"{', '.join(map(' '.join, shown.items()))} ({settings['origin']})"


def _setting(value: object) -> str:
    if isinstance(value, tuple | list):
        sizes = all(isinstance(side, int | None) for side in value)
        return _times(side or "auto" for side in value) if sizes else _listed(value, ",")
    return _number(value)


def _tokenizer_text(found: Facts | None) -> str:
    return "" if found is None else found["tokenizer"]


def _label_text(labels: Facts | None) -> str:
    if labels is None:
        return "none: give them with --labels FILE"
    shown = "; ".join(labels["names"][:_LABELS_SHOWN])
    more = "; ..." if labels["count"] > _LABELS_SHOWN else ""
    return f"{labels['count']} ({labels['origin']}): {shown}{more}"


def _embedding_text(found: Facts | None) -> str:
    return "" if found is None else f"{found['sign']}; explain it with --target similar:PICTURE"


def _detector_text(detector: Facts | None) -> str:
    return "" if detector is None else f"layout {detector['layout']}, {detector['origin']}"


def _answer_text(answer: Facts) -> str:
    return f"{answer['output']}: {answer['words']}"


def _target_rows(answer: Facts) -> Iterator[tuple[str, str]]:
    """How to name what is explained, and other outputs."""
    yield "--target", "; ".join(answer["targets"])
    if answer["other_outputs"] and answer["kind"] != "boxes":
        yield "--output", f"{'; '.join(answer['other_outputs'])}, instead of {answer['output']}"


def _text_text(text: Facts | None) -> str:
    if text is None:
        return ""
    known, blank = text["characters"], text["blank"]
    of = f"blank {blank} ({text['origin']})" if blank is not None else "blank not known: --blank"
    names = f"{known} characters" if known else "characters not known: --labels FILE"
    return f"recognizer {text['axes']}, {text['classes']} classes, {of}, {names}"


def _batch_text(batch: Facts) -> str:
    declared = "any number" if batch["fixed"] is None else f"fixed at {batch['fixed']}"
    return f"declared {declared}; runs {batch['runs']} ({batch['provider']})"


def _random_text(random: Facts) -> str:
    fixed = [NamedNode(**one) for one in random["fixed"]]
    said = (
        [f"the model {random['cause']}; --fix-random replaces known nodes"]
        if random["cause"]
        else []
    )
    return "; ".join(said + ([f"replaced by --fix-random: {listed(fixed)}"] if fixed else []))


def _gradient_text(gradients: Facts) -> str:
    if gradients["complete"]:
        return "every operator between input and score has one"
    without = [f"none for {names}" for names in _grouped(gradients["missing"])]
    reasons = [one["reason"].rstrip(".") for one in gradients["missing"] if one["reason"]]
    said = [*_some(without, "operators"), *_some(reasons, "nodes")]
    target = gradients["target"]
    cuts = _some(list(_grouped(gradients["cut_off_by"])), "operators")
    if cuts:
        instead = f": explain {target!r} instead, with --output" if target else ""
        said.append(f"zero everywhere after {', '.join(cuts)}{instead}")
    elif target is None:
        said.append("the score does not depend on the input")
    return "; ".join(said)


def _grouped(obstacles: Iterable[Facts]) -> Iterator[str]:
    """Operators with some of their nodes, without those that say more for themselves."""
    nodes: dict[str, list[str]] = {}
    for one in obstacles:
        if one["reason"] is None:
            nodes.setdefault(one["op"], []).append(repr(one["node"]))
    for op, names in nodes.items():
        more = len(names) - _NODES_SHOWN
        yield f"{op} {', '.join(names[:_NODES_SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _some(texts: Sequence[str], counted: str) -> list[str]:
    """The first texts, and how many more there are: a large model may have hundreds."""
    more = len(texts) - _TEXTS_SHOWN
    return [*texts[:_TEXTS_SHOWN], *([f"and {more} more {counted}"] if more > 0 else [])]


def _cam_text(cam: Facts | None) -> str:
    return "" if cam is None else f"applicable: {cam['pooling']} pooling of {cam['layer']}"


_PARTS: dict[str, tuple[Callable[[Explainer], Any], Callable[[Any], str]]] = {
    "preprocess": (_preprocess_facts, _preprocess_text),
    "tokenizer": (_tokenizer_facts, _tokenizer_text),
    "labels": (_label_facts, _label_text),
    "embedding": (_embedding_facts, _embedding_text),
    "boxes": (_detector_facts, _detector_text),
    "text": (_text_facts, _text_text),
    "answer": (_answer_facts, _answer_text),
    "random": (_random_facts, _random_text),
    "batch": (_batch_facts, _batch_text),
    "gradients": (_gradient_facts, _gradient_text),
    "cam": (_cam_facts, _cam_text),
}
"""What may be unknown about a model: the facts, and a text made of them."""


def _times(sizes: Iterable[object]) -> str:
    return " x ".join(map(str, sizes))


def _listed(values: Iterable[Any], separator: str = ", ") -> str:
    return separator.join("?" if value is None else _number(value) for value in values)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= _LONGEST_VALUE else line[: _LONGEST_VALUE - 3] + "..."
