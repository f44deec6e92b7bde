"""The public entry: a model that can be asked where it looked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.baselines import Scene
from onnxplain.engine.anatomy import ModelAnatomy
from onnxplain.engine.answers import answer
from onnxplain.engine.heat import to_heatmap
from onnxplain.engine.runner import Runner
from onnxplain.engine.sample import Sample
from onnxplain.errors import MapError, OptionError, TargetError
from onnxplain.explanation import (
    Attribution,
    ExplainedTarget,
    Explanation,
    ModelFacts,
    Provenance,
)
from onnxplain.graph.inputs import explained_input, is_picture, require_picture
from onnxplain.graph.layers import Layer
from onnxplain.graph.load import ModelSource, load
from onnxplain.graph.model import Model
from onnxplain.graph.score import find_score
from onnxplain.images.labels import Labels, find_labels
from onnxplain.images.picture import as_picture, read_picture
from onnxplain.images.preprocess import Preprocess
from onnxplain.images.sources import check_fits, find_preprocess
from onnxplain.methods.base import Maps, Method
from onnxplain.methods.registry import make_method
from onnxplain.render.sheet import contact_sheet
from onnxplain.runtime.batching import Progress
from onnxplain.targets import Class, Target, TargetSpec, resolve
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.versions import versions

Picture = str | Path | Array


class Explainer:
    """Explains one model on one provider.

    Sessions, layers and the proof that the model takes batches are kept between calls.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        provider: str = "auto",
        preprocess: Preprocess | Mapping[str, object] | None = None,
        labels: Path | str | Sequence[str] | None = None,
        batch_size: int | None = None,
        inputs: Mapping[str, Array] | None = None,
        explain_input: str | None = None,
        output: str | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: path, bytes or ModelProto.
            provider: "auto", "cuda", "tensorrt", "openvino", "cpu", or a name that ONNX Runtime
                lists.
            preprocess: how pictures become input: a `Preprocess`, or single settings that replace
                those found beside or inside the model.
            labels: a file, or the names in order; found beside or inside the model by default.
            batch_size: samples per run; chosen by itself by default.
            inputs: values of the model's other inputs, by name.
            explain_input: name of the input to explain, where that is not plain.
            output: name of the output that holds the scores; the first float output by default.

        Raises:
            ModelError: the model cannot be loaded, or ONNX Runtime refuses it.
            ProviderError: the provider cannot be had.
            PreprocessError: preprocessing or labels are malformed or do not fit the model.
        """
        self.model: Model = load(model)
        others = {name: np.asarray(value) for name, value in (inputs or {}).items()}
        self.input: TensorSpec = explained_input(self.model, others, explain_input)
        self.score_tensor = find_score(self.model, output)
        self._given_preprocess = preprocess
        self._given_labels = Path(labels) if isinstance(labels, str) else labels
        self._runner = Runner(self.model, self.input, others, provider, batch_size)

    @functools.cached_property
    def preprocess(self) -> Preprocess:
        """How pictures become the model's input, and where that is known from."""
        require_picture(self.input)
        given = self._given_preprocess
        if isinstance(given, Preprocess):
            check_fits(given, self.input)
            return given
        return find_preprocess(self.input, self.model.path, self.model.metadata, given or {})

    @functools.cached_property
    def labels(self) -> Labels | None:
        """Names of the classes, where there are any."""
        return find_labels(self.model.path, self.model.metadata, self._given_labels)

    @property
    def provider(self) -> str:
        """The execution provider that really runs; empty before the first run."""
        return self._runner.provider

    @property
    def session_runs(self) -> int:
        """ONNX Runtime runs so far."""
        return self._runner.runs

    def on_progress(self, report: Progress) -> None:
        """Call `report(done, total)` as samples are run: perturbed pictures, cells, channels."""
        self._runner.progress = report

    def layers(self, x: Array | None = None) -> list[Layer]:
        """Layers with a grid between the input and the score, in order.

        `x` is a sample whose shape counts; by default one of the shape that pictures are given.
        """
        return self._anatomy(self._noise() if x is None else x).layers

    def layer(self, name: str = "auto", x: Array | None = None) -> Layer:
        """The layer of that name; "auto" is the one that CAM methods look at by default.

        Raises:
            LayerError: there is no such layer, or none with a grid.
        """
        return self._anatomy(self._noise() if x is None else x).layer(name)

    def batching(self, x: Array | None = None) -> str:
        """How several samples are run, in words: in batches, or one by one and why.

        Found out by running `x`, one sample, and two others made from it, in a batch and one by
        one; by default a picture of noise.
        """
        sample = self._noise() if x is None else x
        return self._runner.batching(sample, [self.score_tensor.probability]).how

    def explain(
        self,
        picture: Picture,
        method: str | Method = "scorecam",
        target: TargetSpec = "top1",
        **options: Any,
    ) -> Explanation:
        """Explain one picture for one target.

        Args:
            picture: a file, or an RGB array (H, W, 3), (H, W) or (H, W, 4), uint8, uint16, or float
                in 0 to 255.
            method: a name from `onnxplain methods`, or a configured method.
            target: class index, label, "top1", or an object of `onnxplain.targets`.
            options: the method's own, such as `layer="auto"` or `samples=4000`.

        Raises:
            OnnxplainError: one of its kinds, with a sentence that says what to do.
        """
        found = self.explain_each(picture, method, target, **options)
        if len(found) != 1:
            raise TargetError(f"{target!r} means {len(found)} targets: use explain_each for them.")
        return found[0]

    def explain_each(
        self,
        picture: Picture,
        method: str | Method = "scorecam",
        target: TargetSpec | Sequence[TargetSpec] = "top5",
        **options: Any,
    ) -> list[Explanation]:
        """Explain one picture for several targets, which share the work that they can share.

        Arguments and errors are those of `explain`; `target` may also be "top5" or a sequence.
        """
        configured = make_method(method, options)
        path = Path(picture) if isinstance(picture, str | Path) else None
        pixels = read_picture(path) if path is not None else as_picture(np.asarray(picture))
        x, placement = self.preprocess.apply(pixels)
        specs = [target] if isinstance(target, TargetSpec) else list(target)
        result = self._attribute(x, configured, specs)
        explanations = []
        for i, explained in enumerate(result.targets):
            values = result.maps.values[i]
            sheet = configured.sheet(values)
            heat = configured.heat(values, self._spatial(x))
            heatmap, heat_range = to_heatmap(heat, placement, configured.name)
            explanations.append(
                Explanation(
                    values=values,
                    heatmap=heatmap,
                    heatmap_range=heat_range,
                    picture=np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
                    method=configured.name,
                    target=_described(explained),
                    score=float(result.scores[i]),
                    score_kind=configured.score,
                    score_tensor=result.score_tensor,
                    parameters=_recorded(configured),
                    provenance=self._provenance(result.batching),
                    layer=None if result.layer is None else result.layer.tensor,
                    diagnostics=result.maps.diagnostics,
                    picture_path=path,
                    seen=placement.covered(),
                    sheet=None if sheet is None else contact_sheet(sheet),
                )
            )
        return explanations

    def attribute(
        self,
        x: Array | Mapping[str, Array],
        method: str | Method = "occlusion",
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> Attribution:
        """Explain arrays that are already what the model takes, of any rank.

        Args:
            x: samples (N, ...), or a dict that holds them under the input's name and other inputs
                under theirs.
            method: as in `explain`.
            target: one for all samples, or a sequence with one for each.
            options: the method's own.

        Returns:
            `values` of shape (N, ...) like the input, or (N, rows, columns) for methods that look
            at a layer; never rescaled.

        Raises:
            OnnxplainError: as in `explain`.
        """
        configured = make_method(method, options)
        samples = self._samples(x)
        specs = [target] * len(samples) if isinstance(target, TargetSpec) else list(target)
        if len(specs) != len(samples):
            raise TargetError(f"There are {len(specs)} targets for {len(samples)} samples.")
        results = [
            self._attribute(sample[None], configured, [spec])
            for sample, spec in zip(samples, specs, strict=True)
        ]
        if any(len(result.targets) != 1 for result in results):
            raise TargetError("attribute explains one target for each sample: give a class.")
        values = np.concatenate([result.maps.values for result in results])
        if not np.isfinite(values).all():
            raise MapError(f"The values of {configured.name} are not finite.")
        layer = results[0].layer
        return Attribution(
            values=values,
            scores=np.concatenate([result.scores for result in results]),
            targets=tuple(_described(result.targets[0]) for result in results),
            method=configured.name,
            layer=None if layer is None else layer.tensor,
            parameters=_recorded(configured),
            diagnostics={"samples": [dict(result.maps.diagnostics) for result in results]},
        )

    def _attribute(self, x: Array, method: Method, specs: Sequence[TargetSpec]) -> _Attributed:
        """Explain one sample, (1, ...), in the model's own type."""
        reading = answer(self.score_tensor, method.score)
        anatomy = self._anatomy(x)
        layer = method.look_at(anatomy)
        wanted = [reading.tensor, *([] if layer is None else [layer.tensor])]
        found = self._runner.forward(x, wanted)
        answers = reading.finish(found[0])
        targets = [t for spec in specs for t in resolve(spec, answers, self.labels)]
        scores = np.array([target.score(answers)[0] for target in targets], np.float32)
        if not np.isfinite(scores).all():
            raise MapError(
                "The model's score for this picture is NaN or infinite: check the preprocessing."
            )
        activation = None if layer is None else (layer, found[1])
        sample = Sample(self._runner, self._scene(x), reading, targets, scores, anatomy, activation)
        maps = method.maps(sample)
        return _Attributed(maps, targets, scores, layer, reading.tensor, sample.how)

    def _anatomy(self, x: Array) -> ModelAnatomy:
        key = x.shape
        if key not in self._anatomies:
            self._anatomies[key] = ModelAnatomy(self._runner, x, self.score_tensor.logit)
        return self._anatomies[key]

    @functools.cached_property
    def _anatomies(self) -> dict[tuple[int, ...], ModelAnatomy]:
        return {}

    def _scene(self, x: Array) -> Scene:
        picture = is_picture(self.input)
        channels = {"NCHW": 1, "NHWC": 3}[self.preprocess.layout] if picture else None
        colours = self.preprocess if picture else None
        return Scene(x.astype(np.float32), channels, self._spatial(x), colours)

    def _spatial(self, x: Array) -> tuple[int, ...]:
        if is_picture(self.input):
            return {"NCHW": (2, 3), "NHWC": (1, 2)}[self.preprocess.layout]
        return tuple(range(1, x.ndim))

    def _samples(self, x: Array | Mapping[str, Array]) -> Array:
        if isinstance(x, Mapping):
            if self.input.name not in x:
                raise OptionError(f"The dict holds no value for the input {self.input.name!r}.")
            x = x[self.input.name]
        samples = np.asarray(x)
        declared = self.input.shape
        if declared is not None and (samples.ndim != len(declared) or not len(samples)):
            raise OptionError(
                f"The input {self.input.name!r} takes {len(declared)} axes, the batch first, and "
                f"the array has shape {samples.shape}."
            )
        return samples.astype(self.input.dtype, copy=False)

    def _noise(self) -> Array:
        """One sample of the shape that pictures are given, or that the input declares."""
        random = np.random.default_rng(0)
        if is_picture(self.input):
            size = self.preprocess.size or (224, 224)
            return self.preprocess.apply(255 * random.random((*size, 3), np.float32))[0]
        shape = [d if isinstance(d, int) else 1 for d in self.input.shape or ()]
        return random.random(shape, np.float32).astype(self.input.dtype)

    def _provenance(self, batching: str) -> Provenance:
        model = self.model
        facts = ModelFacts(
            path=model.path,
            sha256=model.sha256,
            opset=model.opset,
            input_name=self.input.name,
            output_names=tuple(spec.name for spec in model.outputs),
        )
        settings = self.preprocess.to_dict()
        return Provenance(facts, settings, self.provider, versions(), batching)


@dataclass(frozen=True, eq=False)
class _Attributed:
    maps: Maps
    targets: list[Target]
    scores: FloatArray
    layer: Layer | None
    score_tensor: str
    batching: str


def _described(target: Target) -> ExplainedTarget:
    if isinstance(target, Class):
        return ExplainedTarget.of_class(target.index, target.label)
    return ExplainedTarget(target.name)


def _recorded(method: Method) -> dict[str, Any]:
    """Options as a manifest can hold them: arrays by their shape."""
    return {
        name: f"array {value.shape}" if isinstance(value, np.ndarray) else value
        for name, value in method.options().items()
    }
