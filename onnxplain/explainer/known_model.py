"""One model on one provider, and what is known about it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from onnxplain.analysis.classifier import Classifier
from onnxplain.analysis.graph_reader import graph_reader
from onnxplain.analysis.inputs import explained_input, require_picture
from onnxplain.analysis.layers import Layer
from onnxplain.analysis.randomness import NamedNode
from onnxplain.analysis.score import ScoreTensor
from onnxplain.analysis.token_inputs import takes_ids
from onnxplain.autodiff.differentiability import Differentiability, differentiability
from onnxplain.errors import ModelError, OptionError
from onnxplain.execution.randomness import Randomness
from onnxplain.execution.runner import Runner
from onnxplain.execution.sample_shape import sample_shape
from onnxplain.execution.samples import Samples
from onnxplain.explainer.answer import BOXES_FOUND, TEXT_READ, Answer, find_answer
from onnxplain.explainer.answer_facts import AnswerFacts
from onnxplain.explainer.array import Arrays
from onnxplain.explainer.array_settings import ArraySettings
from onnxplain.explainer.default import default_method, fills
from onnxplain.explainer.detector import Detector, find_detector
from onnxplain.explainer.input_values import InputValue, read_values
from onnxplain.explainer.intake import Intake, find_scaling
from onnxplain.explainer.other_inputs import OtherInputs
from onnxplain.explainer.output import Meaning, explained_output
from onnxplain.explainer.pipeline import WORKERS
from onnxplain.explainer.recognizer import Recognizer, find_recognizer, require_samples_first
from onnxplain.explainer.references import References
from onnxplain.explainer.requests import ExplainedModel
from onnxplain.explainer.spent import Spent
from onnxplain.explainer.text_encoder import TextEncoder
from onnxplain.explainer.text_inputs import TextInputs
from onnxplain.explainer.texts import TextExplainer
from onnxplain.images.labels import Labels
from onnxplain.images.preprocess import Preprocess
from onnxplain.images.sources import check_fits, find_preprocess
from onnxplain.methods.base import Method
from onnxplain.methods.registry import AUTO, make_method
from onnxplain.model.load import ModelSource, load
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.results.explanation import ModelFacts, Provenance
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.batching import Progress
from onnxplain.runtime.profile import Profile, Profiler
from onnxplain.runtime.providers import choose_backend
from onnxplain.tensors import Array, TensorSpec
from onnxplain.texts.tokenizer import Tokenizer
from onnxplain.texts.tokens import Text
from onnxplain.transforms.fixed_draws import without_draws
from onnxplain.versions import versions

Own = TypeVar("Own", bound="KnownModel")


class KnownModel:
    """A model, and what is found out about it: inputs, outputs, layers, classes, the method.

    Sessions, layers and how the model takes batches are kept between calls. `spent` counts the
    seconds of work for many pictures, and `workers` is the number of threads that read them.
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
        text_model: ModelSource | None = None,
        provider_options: Mapping[str, object] | None = None,
        threads: int | None = None,
        profile: bool = False,
        fix_random: bool = False,
    ) -> None:
        """Load a model.

        Args:
            model: path, bytes or ModelProto.
            provider: "auto", "cuda", "tensorrt", "openvino", "cpu", or a name that ONNX Runtime
                or an installed plug-in has; a device may follow, as in "openvino:gpu" or "cuda:1".
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
                searched next to the model's file if there is a `text`, or if the model reads texts
                and no picture. With it, the model's input of token ids can be explained, see
                `explain_text`.
            text: fills the inputs of token ids, masks, segments and places next to a picture that
                is explained; a list of texts fills a row for each.
            arrays: how arrays are drawn: `bands`, `value_range` and `names`, see
                `explainer.array_settings.ArraySettings`.
            blank: the class of a text recognizer that means no character: "first", "last", or its
                index; by default it is found automatically where the model or its labels say it.
            text_model: a model of texts with the same space of embeddings, such as the other half
                of CLIP: path, bytes or ModelProto. Then the target "similar:TEXT" compares with a
                text. The tokenizer is that of this model.
            provider_options: options of the provider, by name.
            threads: the most threads of ONNX Runtime that run the model at the same time; by
                default one per core. It changes the results only by rounding.
            profile: whether to measure which provider runs each node, see `profile`.
            fix_random: explain the model with its mean in place of each random draw, and with
                Dropout and batch normalization in inference mode.

        Raises:
            TextError: the tokenizer cannot be read, or the text does not fit the model.
            ModelError: the model cannot be loaded, or ONNX Runtime rejects it; or with `fix_random`
                it still gives two answers for one sample.
            ProviderError: the provider or its device is not available, or refuses the options.
            PreprocessError: preprocessing or labels are malformed or do not fit the model.
            OptionError: a setting of arrays is malformed, or there are less than 1 `threads`.
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
            "text_model": text_model,
            "provider_options": provider_options,
            "threads": threads,
            "profile": profile,
            "fix_random": fix_random,
        }
        loaded = load(model)
        if loaded.is_exported:
            raise ModelError(
                "This model was made by `onnxplain export` and explains already: run it with ONNX "
                "Runtime, or name the model that it was made from."
            )
        self.fixed_random: Sequence[NamedNode] = ()
        if fix_random:
            loaded, self.fixed_random = without_draws(loaded)
        self._chosen = explained_output(loaded, output)
        profiler = Profiler() if profile else None
        backend = choose_backend(provider, provider_options, threads, profiler)
        self._encoder: TextEncoder | None = None
        if text_model is not None:
            self._encoder = TextEncoder.of(text_model, tokenizer, self.model, backend)
            # Else it is the tokenizer of the other model alone.
            tokenizer = tokenizer if any(map(takes_ids, self.model.inputs)) else None
        named = inputs or {}
        self._text_inputs = TextInputs.of(self.model, tokenizer, text, explain_input, named)
        given = self._text_inputs.known(self.model, named)
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
                functools.partial(find_scaling, self.input, self.model.path, preprocess),
            ),
        )
        others = [spec for spec in self.model.inputs if spec != self.input]
        values = self._text_inputs.filled_besides(self.input)
        values |= read_values(others, inputs or {}, self._preprocess_of)
        self._others = OtherInputs(self.input, others, values, self._samples)
        known = self._others.of_noise()
        self._runner = Runner(self.model, self.input, known, backend, batch_size)
        self._layout, self._blank = boxes, blank
        self.spent = Spent()
        self.workers = WORKERS
        self._prepare()
        if fix_random:
            self._explained_for(None).check_repeats()

    def _prepare(self) -> None:
        """Forget what was found out about another model or output."""
        self._explained = self._explained_by(self._runner)
        take, score = self._intake.take, self.score_tensor
        self._references = References(self._runner, score, take, self._others, self._encoder)
        self._texts = self._texts_by(self._runner)
        self._default: tuple[str, str] | None = None
        self.__dict__.pop("_meaning", None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the constructor's arguments: sessions cannot be pickled."""
        return _made, (type(self), self._arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, by name, with the path of the model as a whole."""
        return dict(self._arguments)

    @property
    def model(self) -> Model:
        """The model; it ends in the output that is explained, if that was given."""
        return self._chosen.model

    @property
    def score_tensor(self) -> ScoreTensor:
        """The tensors of the scores, before and after the last activation."""
        return self._chosen.score

    @property
    def output(self) -> str | None:
        """The name of the output that the user chose; None if it was found."""
        return self._chosen.name

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
    def trial(self) -> Array:
        """A sample of noise, (1, ...), in the form of the input, to try the model with."""
        return self._samples.noise()

    def other_values(self, x: Array) -> Mapping[str, Array]:
        """Values of the inputs that are not explained, by name, for samples (N, ...)."""
        self._runner.others = self._others.of(x[:1])
        return self._runner.others_for(len(x))

    @property
    def whole_model(self) -> Model:
        """The model with all of its outputs, also where another output is explained."""
        return self._chosen.whole

    @property
    def sizes_vary(self) -> bool:
        """Whether samples may have different sizes."""
        return self._intake.sizes_vary

    @property
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
        def shape() -> Shape | None:
            sample, tensor = self._samples.noise(), self.score_tensor.probability
            return sample_shape(self._runner, sample, tensor)

        return self._chosen.meaning(self._given_labels, shape)

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
        explained = self._explained_for(x)
        if explained.detector is not None:
            return BOXES_FOUND
        if explained.recognizer is not None:
            return TEXT_READ
        structure, samples = explained.structure(x), self._runner.fixed_batch or 1
        require_samples_first(structure.answer_shape, samples, self.score_tensor.probability)
        return find_answer(structure, self.labels, self.embedding)

    def answer_shape(self, x: Array | None = None) -> Shape:
        """The shape of the scores of one sample of the shape of `x`, without the batch axis."""
        return self._explained_for(x).structure(x).answer_shape[1:]

    @property
    def recognizer(self) -> Recognizer | None:
        """How the model's answer holds a text; None if it is not known to be a text recognizer.

        Raises:
            ModelError: it is known to be one, but its answer does not fit.
        """
        return self._explained.recognizer

    @property
    def reads_texts(self) -> bool:
        """Whether the explained input takes the token ids of texts, and there is a tokenizer."""
        return self._text_inputs.explains(self.input)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the texts that are explained.

        Raises:
            TextError: it cannot be read.
            OptionError: there is none, or the explained input takes no token ids.
        """
        return self._texts().tokenizer

    @property
    def provider(self) -> str:
        """The execution provider in use; empty before the first run."""
        return self._runner.activity.provider

    @property
    def backend(self) -> Backend:
        """What its sessions run on."""
        return self._runner.backend

    def profile(self) -> Profile:
        """Which provider ran each node so far, and for how long; see `profile` of the constructor.

        Sessions that are open now are not measured any more.

        Raises:
            OptionError: nothing was measured, because `profile` was not given.
        """
        if self.backend.profiler is None:
            raise OptionError("Nothing was measured: make the Explainer with profile=True.")
        return self.backend.profiler.finish()

    @property
    def session_runs(self) -> int:
        """Number of ONNX Runtime runs so far."""
        return self._runner.activity.runs

    @property
    def open_sessions(self) -> int:
        """Number of open ONNX Runtime sessions; few are kept, each holds a copy of the weights."""
        return len(self._runner.activity.sessions)

    def with_model(self: Own, model: Model) -> Own:
        """A copy for another model with the same inputs, layers and outputs."""
        other = copy.copy(self)
        other._chosen = replace(self._chosen, whole=model, model=model)
        other._arguments = {**self._arguments, "model": model.proto}
        other._runner = self._runner.with_model(model)
        other._prepare()
        return other

    def with_output(self: Own, output: str) -> Own:
        """A copy for another output or inner tensor of the model; it shares open sessions.

        Raises:
            ModelError: there is no such tensor.
        """
        other = copy.copy(self)
        other._arguments = {**self._arguments, "output": output}
        other._chosen = explained_output(self._chosen.whole, output)
        if other.model is not self.model:
            other._runner = self._runner.beside(other.model)
        other._prepare()
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
        if self.reads_texts:
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

    def without_gradients(self) -> None:
        """Let "auto" mean occlusion from now on, as no graph with gradients can be run."""
        self._default = "occlusion", "as ONNX Runtime refuses the graph of the model's gradients"

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
        and one by one. The default for `x` is a picture of noise, or a short text.
        """
        return self._explained_for(x).batching(x).description

    def randomness(self, x: Array | None = None) -> Randomness:
        """What makes answers of the model for one sample differ: nodes that draw random numbers.

        It is found in the graph, and where that does not tell, by running the sample `x`, (1, ...),
        twice. The default for `x` is a picture of noise, or a short text.
        """
        return self._explained_for(x).randomness(x)

    def _explained_for(self, x: Array | None) -> ExplainedModel:
        """What explains `x`; without an `x`, what explains texts if the model reads them."""
        return self._texts().tried if x is None and self.reads_texts else self._explained

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
            if self._chosen.is_cut or self._blank is not None:
                return None
            return find_detector(runner, self._samples, lambda: self.labels, self._layout)

        def recognizer() -> Recognizer | None:
            output = self.score_tensor.probability
            return find_recognizer(runner, self._samples, output, lambda: self.labels, self._blank)

        facts = AnswerFacts(lambda: self.labels, lambda: self.embedding, detector, recognizer)
        return ExplainedModel(runner, self._samples, self.score_tensor, facts)

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
            fixed_random=tuple(node for node, _ in self.fixed_random),
        )
        backend = self.backend
        return Provenance(
            facts,
            settings,
            self.provider,
            versions(),
            batching,
            device=asdict(backend.device),
            provider_options=backend.options,
            threads=backend.threads,
        )


def _made(kind: type[Own], arguments: dict[str, Any]) -> Own:
    return kind(**arguments)
