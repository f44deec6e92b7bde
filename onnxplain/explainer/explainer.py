"""The public class `Explainer`: it explains the outputs of one model."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from onnxplain.analysis.boxes import LAYOUTS
from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.embedding import embedding_sign
from onnxplain.analysis.graph_reader import graph_reader
from onnxplain.analysis.inputs import explained_input, require_picture
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.score import ScoreKind, before_decision, find_score
from onnxplain.autodiff.differentiability import Differentiability, differentiability
from onnxplain.errors import MapError, OnnxplainError, OptionError, TargetError, attempted
from onnxplain.execution.arrays import is_finite, joined, samples_for
from onnxplain.execution.runner import Runner
from onnxplain.execution.samples import Samples
from onnxplain.explainer.answer import BOXES_FOUND, TEXT_READ, Answer, find_answer
from onnxplain.explainer.array import Arrays
from onnxplain.explainer.array_settings import ArraySettings
from onnxplain.explainer.default import default_method, fills
from onnxplain.explainer.detector import Detector, find_detector
from onnxplain.explainer.heat import no_slope, nothing_shown
from onnxplain.explainer.input_values import InputValue, read_values
from onnxplain.explainer.intake import Intake, find_scaling
from onnxplain.explainer.meaning import Meaning, declared_size, find_meaning
from onnxplain.explainer.other_inputs import OtherInputs
from onnxplain.explainer.picture import Explaining
from onnxplain.explainer.pipeline import AHEAD, chunks, pipeline
from onnxplain.explainer.recognizer import Recognizer, find_recognizer, require_samples_first
from onnxplain.explainer.references import References
from onnxplain.explainer.request import Request, Result, several
from onnxplain.explainer.requests import ExplainedModel
from onnxplain.explainer.taken import Picture, Taken
from onnxplain.explainer.text_inputs import TextInputs
from onnxplain.explainer.texts import TextExplainer
from onnxplain.images.labels import Labels, find_labels
from onnxplain.images.preprocess import Preprocess
from onnxplain.images.sources import check_fits, find_preprocess
from onnxplain.methods.base import Method, SinglePassMethod
from onnxplain.methods.gradient import Gradient
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.model.load import ModelSource, load
from onnxplain.model.model import Model
from onnxplain.results.explanation import (
    Attribution,
    Explanation,
    ModelFacts,
    Provenance,
)
from onnxplain.results.text_explanation import TextExplanation
from onnxplain.runtime.batching import Progress
from onnxplain.targets import Box, Similarity, Target, TargetSpec, as_list
from onnxplain.targets.parse import reads_of
from onnxplain.targets.recognized import Recognized
from onnxplain.tensors import Array, FloatArray, TensorSpec
from onnxplain.texts.tokens import Text
from onnxplain.transforms.extract import answering
from onnxplain.versions import versions

Found = TypeVar("Found")

_CHUNK = 32
"""Number of pictures that are prepared before the model runs on them."""


class Explainer:
    """Explains one model on one provider.

    Sessions, layers and how the model takes batches are kept between calls.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        provider: str = "auto",
        preprocess: Preprocess | Mapping[str, object] | None = None,
        labels: Path | str | Sequence[str] | None = None,
        batch_size: int | None = None,
        inputs: Mapping[str, InputValue] | None = None,
        explain_input: str | None = None,
        output: str | None = None,
        boxes: str | None = None,
        tokenizer: Path | str | None = None,
        text: Text | list[Text] | None = None,
        arrays: Mapping[str, object] | None = None,
        blank: str | int | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: path, bytes or ModelProto.
            provider: "auto", "cuda", "tensorrt", "openvino", "cpu", or a name that ONNX Runtime
                lists.
            preprocess: how pictures become input: a `Preprocess`, or single settings that replace
                those found next to the model's file or inside the model.
            labels: a file, or the names in order; by default they are searched next to the model's
                file and inside the model.
            batch_size: samples per run; chosen automatically by default.
            inputs: values of the other inputs by name, each for one sample, with or without
                the batch axis: an array, numbers, or the path of a .npy file or of a picture, which
                is prepared as the explained one is.
            explain_input: name of the input to explain; needed only if several are possible.
            output: name of the tensor that holds the scores, an output or an inner tensor. The
                model is cut after it. The default is the first float output called logits, scores
                or probabilities, else the first float output, or if there is none, what the ArgMax
                reads that makes the first output.
            boxes: how a detector's outputs hold its boxes, a name in `analysis.boxes.LAYOUTS`; by
                default it is found automatically.
            tokenizer: the file `tokenizer.json` of a model that reads texts; by default it is
                searched next to the model's file if there is a `text`. With it, the model's input
                of token ids can be explained, see `explain_text`.
            text: fills the inputs of token ids, masks, segments and places next to a picture that
                is explained; a list of texts fills a row for each.
            arrays: how arrays are drawn: `bands`, `value_range` and `names`, see
                `explainer.array_settings.ArraySettings`.
            blank: the class of a text recognizer that means no character: "first", "last", or its
                index; by default it is found automatically where the model or its labels say it.

        Raises:
            TextError: the tokenizer cannot be read, or the text does not fit the model.
            ModelError: the model cannot be loaded, or ONNX Runtime rejects it.
            ProviderError: the provider is not available.
            PreprocessError: preprocessing or labels are malformed or do not fit the model.
            OptionError: a setting of arrays is malformed.
        """
        self._arguments = {
            "model": Path(model).absolute() if isinstance(model, str | Path) else model,
            "provider": provider,
            "preprocess": preprocess,
            "labels": labels,
            "batch_size": batch_size,
            "inputs": inputs,
            "explain_input": explain_input,
            "output": output,
            "boxes": boxes,
            "tokenizer": tokenizer,
            "text": text,
            "arrays": arrays,
            "blank": blank,
        }
        self._loaded = load(model)
        self._choose(output)
        self._text_inputs = TextInputs.of(self.model, tokenizer, text, explain_input)
        given = self._text_inputs.known(self.model, inputs or {})
        self.input: TensorSpec = explained_input(self.model, given, explain_input)
        self._given_preprocess = preprocess
        self._given_labels = Path(labels) if isinstance(labels, str) else labels
        self._samples = Samples(self.model, self.input, lambda: self.preprocess)
        self._intake = Intake(
            self.input,
            lambda: self.preprocess,
            Arrays(
                self.input,
                self._samples,
                ArraySettings.of(arrays or {}),
                functools.partial(find_scaling, self.input, self._loaded.path, preprocess),
            ),
        )
        others = [spec for spec in self.model.inputs if spec != self.input]
        values = self._text_inputs.filled_besides(self.input)
        values |= read_values(others, inputs or {}, self._preprocess_of)
        self._others = OtherInputs(self.input, others, values, self._samples)
        known = self._others.of_noise()
        self._runner = Runner(self.model, self.input, known, provider, batch_size)
        self._layout, self._blank = boxes, blank
        self._explained = self._explained_by(self._runner)
        self._references = self._references_of(self._runner)
        self._texts = self._texts_by(self._runner)

    def _choose(self, output: str | None) -> None:
        """Choose the output that is explained, None for the one that is found."""
        loaded = self._loaded
        named = before_decision(loaded) if output is None else output
        self.output = output
        self.model: Model = loaded if named is None else answering(loaded, named)
        self.score_tensor = find_score(self.model, named)
        self._is_cut = named is not None
        self._is_inner = self.score_tensor.probability not in loaded.index.outputs
        self._size = declared_size(_spec_of(self.model, self.score_tensor.probability).shape)
        self._sign = embedding_sign(loaded, self.score_tensor, self._size)
        self.__dict__.pop("_meaning", None)  # that of another output
        self._default: tuple[str, str] | None = None

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Explainer], tuple[dict[str, Any]]]:
        """Pickle only the constructor's arguments: sessions cannot be pickled."""
        return _made, (self._arguments,)

    @functools.cached_property
    def preprocess(self) -> Preprocess:
        """How pictures become the model's input, and the source of this knowledge.

        Raises:
            PreprocessError: preprocessing is malformed or does not fit the model.
        """
        require_picture(self.input)
        return self._preprocess_of(self.input)

    @property
    def origin(self) -> str:
        """Where the settings come from by which pictures, or arrays, become the input."""
        return self._intake.origin

    @property
    def spatial_rank(self) -> int:
        """How many axes of the input have places: 2 for pictures, 1 for signals and rows."""
        return len(self._samples.spatial(self._samples.noise()))

    @property
    def sizes_vary(self) -> bool:
        """Whether samples may have different sizes."""
        return self._intake.sizes_vary

    @functools.cached_property
    def labels(self) -> Labels | None:
        """Names of the classes; None if no names were found, or the answer is an embedding."""
        return self._meaning.labels

    @property
    def embedding(self) -> str:
        """Why the answer is an embedding and not scores of classes, in words; empty if it is none.

        See `analysis.embedding.embedding_sign`. Labels that were given mean classes.
        """
        return self._meaning.embedding

    @functools.cached_property
    def _meaning(self) -> Meaning:
        given = self._given_labels
        labels = find_labels(self.model.path, self.model.metadata, given)
        return find_meaning(
            self._sign, labels, given=given is not None, inner=self._is_inner, size=self._size
        )

    @property
    def detector(self) -> Detector | None:
        """How the model's outputs hold boxes; None if it is no detector whose layout is known.

        Raises:
            ModelError: the outputs do not fit the layout that was given.
        """
        return self._explained.detector

    def answer(self, x: Array | None = None) -> Answer:
        """What the answer is, and how its targets are named, for samples of the shape of `x`.

        Raises:
            OnnxplainError: the preprocessing or the labels are malformed, or do not fit the model.
        """
        if self.detector is not None:
            return BOXES_FOUND
        if self.recognizer is not None:
            return TEXT_READ
        structure, samples = self._explained.structure(x), self._runner.fixed_batch or 1
        require_samples_first(structure.answer_shape, samples, self.score_tensor.probability)
        return find_answer(structure, self.labels, self.embedding)

    @property
    def recognizer(self) -> Recognizer | None:
        """How the model's answer holds a text; None if it is not known to be a text recognizer.

        Raises:
            ModelError: it is known to be one, but its answer does not fit.
        """
        return self._explained.recognizer

    @property
    def provider(self) -> str:
        """The execution provider in use; empty before the first run."""
        return self._runner.activity.provider

    @property
    def session_runs(self) -> int:
        """Number of ONNX Runtime runs so far."""
        return self._runner.activity.runs

    @property
    def open_sessions(self) -> int:
        """Number of open ONNX Runtime sessions; few are kept, each holds a copy of the weights."""
        return len(self._runner.activity.sessions)

    def with_model(self, model: Model) -> Explainer:
        """A copy of this explainer for another model with the same inputs, layers and outputs."""
        other = copy.copy(self)
        other.model = other._loaded = model
        other._arguments = {**self._arguments, "model": model.proto}
        other._runner = self._runner.with_model(model)
        other._explained = self._explained_by(other._runner)
        other._references = self._references_of(other._runner)
        other._texts = self._texts_by(other._runner)
        return other

    def with_output(self, output: str) -> Explainer:
        """A copy of this explainer for another output or inner tensor; it shares open sessions.

        Raises:
            ModelError: there is no such tensor.
        """
        other = copy.copy(self)
        other._arguments = {**self._arguments, "output": output}
        other._choose(output)
        if other.model is not self.model:
            other._runner = self._runner.beside(other.model)
        other._explained = other._explained_by(other._runner)
        other._references = other._references_of(other._runner)
        other._texts = other._texts_by(other._runner)
        return other

    def on_progress(self, report: Progress) -> None:
        """Call `report(done, total)` while samples are run: perturbed pictures, cells, channels."""
        self._runner.activity.progress = report

    def layers(self, x: Array | None = None) -> list[Layer]:
        """Layers with a grid between the input and the score, in order.

        They depend on the shape of the sample `x`, (1, ...). The default has the shape of
        preprocessed pictures.
        """
        return self._explained.of_text.structure(x).layers

    def layer(self, name: str = "auto", x: Array | None = None) -> Layer:
        """The layer of that name; "auto" is the one that CAM methods use by default.

        Raises:
            LayerError: there is no such layer, or it has no grid.
        """
        return self._explained.of_text.structure(x).layer(name)

    def auto_layers(self, x: Array | None = None) -> Sequence[Layer]:
        """The layers that methods with maps at several layers explain by default.

        They are the outputs of a detector's feature pyramid; for other models only `layer()`.

        Raises:
            LayerError: there is no layer with a grid.
        """
        return self._explained.of_text.structure(x).auto_layers

    def warning(self, x: Array | None = None) -> str:
        """A warning about the layer that "auto" chooses; empty if there is none."""
        structure = self._explained.of_text.structure(x)
        return structure.warning(structure.layer("auto"))

    def classifier(self, x: Array | None = None) -> Classifier:
        """The linear layer after a global pool, which `cam` reads.

        Raises:
            LayerError: there is none.
        """
        return self._explained.of_text.structure(x).classifier()

    def differentiability(self) -> Differentiability:
        """Whether the score is differentiable at the input, and what prevents it.

        Found from the graph, without a run. The score is taken before a last activation, which is
        the default of gradient methods. For texts, the input is the embedding of the token ids.

        Raises:
            GradientError: the model cannot be made ready for gradients at all.
        """
        if self._text_inputs.explains(self.input):
            return self._texts().differentiability
        own = self._explained.of_text
        return differentiability(own.model, own.lowered, own.score.logit, self.input.name)

    def default_method(self) -> tuple[str, str]:
        """The method that "auto" means for this model, and the reason in words.

        It is hirescam where the model has a layer with a grid and a gradient: it pointed best and
        was most faithful of all methods that cost about one forward pass, see
        docs/methods/pointing.md. For other models it is occlusion, which needs neither.
        """
        if self._default is None:
            self._default = default_method(self)
        return self._default

    def configured(self, method: str | Method, options: Mapping[str, Any]) -> Method:
        """The method of that name with `options`, "auto" being that of `default_method`.

        Raises:
            OptionError: there is no such method, or it does not take an option or its value.
        """
        # What is absent is zeros where the input has no black.
        named = self.default_method()[0] if method == AUTO else method
        return make_method(named, fills(named, self.input) | dict(options))

    def batching(self, x: Array | None = None) -> str:
        """How several samples are run, in words: in batches, or one by one and why.

        It is tested by running the sample `x`, (1, ...), and two others made from it, in a batch
        and one by one. The default for `x` is a picture of noise.
        """
        return self._explained.batching(x).description

    def explain(
        self,
        picture: Picture,
        method: str | Method = AUTO,
        target: TargetSpec = "top1",
        **options: Any,
    ) -> Explanation:
        """Explain one picture for one target.

        Args:
            picture: a file, the bytes of one, or an RGB array (H, W, 3), (H, W) or (H, W, 4),
                uint8, uint16, or float in 0 to 255. For other arrays, see docs/arrays.md: a .npy
                file, an array for an input that takes no pictures, or one with a batch axis of 1.
            method: a name from `onnxplain methods`, "auto" for that of `default_method`, or a
                configured method.
            target: class index, label, "top1", a place, "similar:other.jpg", or an object of
                `onnxplain.targets`; see docs/answers.md.
            options: the method's own, such as `layer="auto"` or `samples=4000`.

        Raises:
            OnnxplainError: one of its subclasses; the message says what to do.
        """
        configured = self.configured(method, options)
        found = self._explain([picture], configured, as_list(target), single=True)
        (explanation,) = _or_raise(next(found))
        return _or_raise(explanation)

    def explain_each(
        self,
        picture: Picture,
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top5",
        **options: Any,
    ) -> list[Explanation]:
        """Explain one picture for several targets; they share runs of the model where possible.

        Arguments and errors are those of `explain`; `target` may also be "top5" or a sequence. If
        the map of one target shows nothing, the error is raised; `try_each` returns the others.
        """
        return [_or_raise(found) for found in self.try_each(picture, method, target, **options)]

    def try_each(
        self,
        picture: Picture,
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top5",
        **options: Any,
    ) -> list[Explanation | MapError]:
        """As `explain_each`, but with an error in the list for each map that shows nothing."""
        return _or_raise(next(self._explain([picture], self.configured(method, options), target)))

    def explain_many(
        self,
        pictures: Iterable[Picture],
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> Iterator[Explanation]:
        """Explain many pictures, one after the other, in order.

        While the model runs, worker threads read and prepare pictures, and resize maps to the
        pictures. Single-pass methods run in batches of the fastest size. At most a few dozen
        pictures are in memory at a time. Arguments and errors are those of `explain_each`. An
        error stops the iteration at its picture; `try_many` continues after errors. An array or a
        .npy file of several samples counts as as many pictures, see `each`.
        """
        for found in self.try_many(pictures, method, target, **options):
            yield from map(_or_raise, _or_raise(found))

    def try_many(
        self,
        pictures: Iterable[Picture],
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> Iterator[list[Explanation | MapError] | OnnxplainError]:
        """For each picture, in order, the result of `try_each`, or the error that it raises."""
        return self._explain(pictures, self.configured(method, options), target)

    def each(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        """The pictures in order, with each sample of an array or .npy file of several by itself."""
        return self._intake.each(pictures)

    def samples(self, pictures: Iterable[Picture]) -> list[Array]:
        """The samples, (1, ...) each, that the model is given for pictures and arrays.

        Raises:
            OnnxplainError: one of them cannot be read, or does not fit the model.
        """
        return [self._intake.take(one).x for one in self.each(pictures)]

    def targets(
        self,
        picture: Picture,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
    ) -> list[Target]:
        """What `target` means for one picture, as objects of `onnxplain.targets`.

        With them, a region that a segmentation model predicts in one picture can be explained
        again with another model, or in a changed picture.

        Raises:
            OnnxplainError: as in `explain`.
        """
        taken, method = self._intake.take(picture), Gradient()
        targets = self._references.resolved(as_list(target), method.score)
        return [
            found
            for specs in _by_what_they_read(targets)
            for found in self._explained.targets(
                Request(taken.x, method, specs, self._others.of(taken.x), taken.placement)
            )
        ]

    def similarity(self, reference: Picture, score: ScoreKind = "logit") -> Similarity:
        """The cosine with the embedding of a picture, as a target; "similar:FILE" means the same.

        Args:
            reference: a picture as for `explain`, prepared in the same way, or a .npy file that
                holds an embedding.
            score: the option `score` of the method; it matters only for a model that ends in a
                softmax or sigmoid.

        Raises:
            TargetError: the reference cannot be used.
        """
        return self._references.similarity(reference, score)

    def detections(self, picture: Picture) -> list[Box]:
        """The boxes that a detector finds in a picture, those with the largest scores first.

        They are targets: `explain(picture, method, box)` explains the score of a box.

        Raises:
            TargetError: the model is no detector whose layout is known.
            OnnxplainError: as in `explain`.
        """
        detector = self.detector
        if detector is None:
            raise TargetError(
                "The outputs of this model are not known to hold boxes: name their layout with "
                f"boxes={next(iter(LAYOUTS))!r}, for example; there are {', '.join(LAYOUTS)}."
            )
        taken = self._intake.take(picture)
        others = self._others.of(taken.x)
        return detector.detections(taken.x, taken.placement, others).confident

    def recognized(self, picture: Picture) -> Recognized:
        """The text that a recognizer reads in a picture, with the probability of each step.

        Its `characters` are targets: `explain(picture, method, character)` explains one.

        Raises:
            TargetError: the model is not known to be a text recognizer.
            OnnxplainError: as in `explain`.
        """
        taken = self._intake.take(picture)
        return self._explained.recognized(taken.x, self._others.of(taken.x))

    def _explain(
        self,
        pictures: Iterable[Picture],
        method: Method,
        target: TargetSpec | Sequence[TargetSpec],
        *,
        single: bool = False,
    ) -> Iterator[list[Explanation | MapError] | OnnxplainError]:
        """The explanations of each picture, in order, or its error."""
        targets = self._references.resolved(as_list(target), method.score)
        runs = _by_what_they_read(targets)
        if single and len(runs) > 1:
            raise several(runs[0][0], sum(map(len, runs)))
        explaining = Explaining(method, self._samples, self._provenance, self.output)

        def taken(picture: Picture) -> Taken | OnnxplainError:
            return attempted(self._intake.take, picture)

        def asked(one: Taken, specs: Sequence[TargetSpec]) -> Request:
            others = self._others.of(one.x)
            return Request(one.x, method, specs, others, one.placement, single)

        def explained(found: Computed) -> list[Explanation | MapError] | OnnxplainError:
            picture, results = found
            if isinstance(picture, OnnxplainError):
                return picture
            explanations: list[Explanation | MapError] = []
            for result in results:
                if isinstance(result, OnnxplainError):
                    return result
                explanations.extend(explaining.explanations(picture, result))
            return explanations

        def results(found: Iterable[Taken | OnnxplainError]) -> Iterator[Computed]:
            for some in chunks(found, size):
                pictures = [one for one in some if isinstance(one, Taken)]
                computed = [
                    self._explained.explain_many([asked(one, specs) for one in pictures])
                    for specs in runs
                ]
                for one in some:
                    yield one, [next(own) for own in computed if isinstance(one, Taken)]

        # Methods with many runs take long, so each result is returned as soon as it is ready.
        size, ahead = (_CHUNK, AHEAD) if isinstance(method, SinglePassMethod) else (1, 0)
        given = pictures if single else self.each(pictures)
        return pipeline(given, taken, results, explained, ahead)

    def _diagnostics(
        self, result: Result, method: Method, values: FloatArray, samples: Array
    ) -> dict[str, Any]:
        """The diagnostics of a map, with a warning if it is the same everywhere."""
        about, spatial = result.maps.about(0), self._samples.spatial(samples)
        warnings = list(about.get("warnings", []))
        if not method.is_varied(values, spatial):
            nothing = nothing_shown(method.heat(values, spatial), method.name, warnings)
            warnings = [nothing] if nothing else warnings
        flat = no_slope(method, result.targets[0], float(result.scores[0]))
        warnings += [flat] if flat else []
        warnings += [result.warning] if result.warning else []
        return about | {"warnings": warnings} if warnings else about

    def attribute(
        self,
        x: Array | Mapping[str, Array],
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> Attribution:
        """Explain arrays in the form of the model's input, of any rank.

        Args:
            x: samples (N, ...), or a dict with the values of this and other inputs by their names.
            method: as in `explain`.
            target: one for all samples, or a sequence with one for each.
            options: the method's own.

        Returns:
            `values` of shape (N, ...) like the input, or (N, rows, columns) for methods that read
            a layer; never rescaled.

        Raises:
            OnnxplainError: as in `explain`.
        """
        configured = self.configured(method, options)
        given = dict(x) if isinstance(x, Mapping) else {self.input.name: x}
        if self.input.name not in given:
            raise OptionError(f"The dict holds no value for the input {self.input.name!r}.")
        samples = samples_for(self.input, given.pop(self.input.name))
        others, count = self._others.of_each(samples, given), len(samples)
        specs = self._references.resolved(as_list(target, count), configured.score)
        if len(specs) != count:
            raise TargetError(f"There are {len(specs)} targets for {count} samples.")
        asked = [
            Request(
                samples[i : i + 1],
                configured,
                [specs[i]],
                own,
                self._samples.placement(samples[i : i + 1]),
                single=True,
            )
            for i, own in enumerate(others)
        ]
        results = [_or_raise(found) for found in self._explained.explain_many(asked)]
        values = joined([result.maps.values for result in results])
        if not is_finite(values):
            raise MapError(f"The values of {configured.name} are not finite.")
        return Attribution(
            values=values,
            scores=joined([result.scores for result in results]),
            targets=tuple(
                replace(result.targets[0].described, output=self.output) for result in results
            ),
            method=configured.name,
            layer=",".join(results[0].layer_names) or None,
            parameters=configured.options(),
            diagnostics={
                "samples": [
                    self._diagnostics(result, configured, one, samples)
                    for result, one in zip(results, values, strict=True)
                ]
            },
        )

    def explain_text(
        self,
        text: Text,
        method: str | Method = AUTO,
        target: TargetSpec = "top1",
        **options: Any,
    ) -> TextExplanation:
        """Explain which tokens of a text made the answer; see docs/text-inputs.md.

        The explained input must be that of the token ids. Gradients are taken at the embedding of
        the ids; methods that remove parts of the input replace the embedding of tokens.

        Args:
            text: a text, or a pair of texts as a tuple.
            method: one with values for the model's input; "auto" is integrated_gradients, or
                occlusion if the model has no gradient.
            target: as in `explain`.
            options: the method's own. `fill` and `baseline` are "pad" (the default), "mask",
                "zeros", a token or its id.

        Raises:
            OnnxplainError: one of its subclasses; the message says what to do.
        """
        found = self.try_text(text, method, as_list(target), **options)
        if len(found) > 1:
            raise several(target, len(found))
        return _or_raise(found[0])

    def try_text(
        self,
        text: Text,
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> list[TextExplanation | MapError]:
        """As `explain_text` for several targets, with an error for each that shows nothing."""
        texts = self._texts()
        settings = texts.tokenizer.settings
        return texts.explain(
            text, method, as_list(target), options, lambda way: self._provenance(way, settings)
        )

    def _texts_by(self, runner: Runner) -> Callable[[], TextExplainer]:
        @functools.cache
        def texts() -> TextExplainer:
            return TextExplainer(
                runner,
                self._text_inputs.inputs,
                self._others.given,
                self.score_tensor,
                lambda: self.labels,
                self._text_inputs.explained_by(self.input),
                lambda: self.embedding,
            )

        return texts

    def _explained_by(self, runner: Runner) -> ExplainedModel:
        def detector() -> Detector | None:
            if self._is_cut or self._blank is not None:
                return None
            return find_detector(runner, self._samples, lambda: self.labels, self._layout)

        def recognizer() -> Recognizer | None:
            output = self.score_tensor.probability
            return find_recognizer(runner, self._samples, output, lambda: self.labels, self._blank)

        return ExplainedModel(
            runner,
            self._samples,
            self.score_tensor,
            lambda: self.labels,
            find_detector=detector,
            embedding=lambda: self.embedding,
            find_recognizer=recognizer,
        )

    def _references_of(self, runner: Runner) -> References:
        return References(runner, self.score_tensor, self._intake.take, self._others)

    def _preprocess_of(self, spec: TensorSpec) -> Preprocess:
        """How pictures become values of an input."""
        given = self._given_preprocess
        if isinstance(given, Preprocess):
            check_fits(given, spec)
            return given
        model, graph = self.model, graph_reader(self.model, spec)
        return find_preprocess(spec, model.path, model.metadata, given or {}, graph)

    def _provenance(self, batching: str, settings: Mapping[str, Any]) -> Provenance:
        model = self.model
        facts = ModelFacts(
            path=model.path,
            sha256=model.sha256,
            opset=model.opset,
            input_name=self.input.name,
            output_names=tuple(spec.name for spec in model.outputs),
        )
        return Provenance(facts, settings, self.provider, versions(), batching)


Computed = tuple[Taken | OnnxplainError, list[Result | OnnxplainError]]
"""A picture, and the result for each group of targets that read the same tensors."""


def _by_what_they_read(specs: list[TargetSpec]) -> list[list[TargetSpec]]:
    """Targets in order, in groups of consecutive ones that read the same tensors."""
    return [list(some) for _, some in groupby(specs, key=reads_of)] or [specs]


def _spec_of(model: Model, output: str) -> TensorSpec:
    return next(spec for spec in model.outputs if spec.name == output)


def _made(arguments: dict[str, Any]) -> Explainer:
    return Explainer(**arguments)


def _or_raise(found: Found | OnnxplainError) -> Found:
    if isinstance(found, OnnxplainError):
        raise found
    return found
