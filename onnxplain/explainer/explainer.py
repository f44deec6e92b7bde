"""The public class `Explainer`: it explains the outputs of one model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from onnxplain.analysis.boxes import LAYOUTS
from onnxplain.analysis.score import ScoreKind
from onnxplain.counts import counted
from onnxplain.errors import BuiltGraphError, MapError, OnnxplainError, OptionError, TargetError
from onnxplain.execution.arrays import samples_for
from onnxplain.execution.baselines import Scene
from onnxplain.execution.subject import Subject
from onnxplain.explainer.attribution import attribution
from onnxplain.explainer.known_model import KnownModel
from onnxplain.explainer.many_pictures import Explained, ManyPictures, by_what_they_read
from onnxplain.explainer.picture import Explaining, Made, WithHeatmaps, WithoutHeatmaps
from onnxplain.explainer.planned import C, Planned
from onnxplain.explainer.request import Request, several
from onnxplain.explainer.taken import Picture, Taken
from onnxplain.methods.base import Method
from onnxplain.methods.gradient import Gradient
from onnxplain.methods.occlusion import Occlusion
from onnxplain.methods.registry import AUTO
from onnxplain.results.data import ValuesOnly
from onnxplain.results.explanation import Attribution, Explanation
from onnxplain.results.text_explanation import TextExplanation
from onnxplain.targets import Answered, Box, Similarity, Target, TargetSpec, as_list
from onnxplain.targets.recognized import Recognized
from onnxplain.tensors import Array
from onnxplain.texts.tokens import Text

Found = TypeVar("Found")


class Explainer(KnownModel):
    """Explains one model on one provider.

    `KnownModel` says what is known about the model, and what its arguments mean.
    """

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
            target: class index, label, "top1", a place, "similar:other.jpg", 'similar:"a text"',
                or an object of `onnxplain.targets`; see docs/answers.md.
            options: the method's own, such as `layer="auto"` or `samples=4000`.

        Raises:
            OnnxplainError: one of its subclasses; the message says what to do.
        """
        (explanation,) = self._of_one(picture, method, as_list(target), options, single=True)
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
        return self._of_one(picture, method, target, options)

    def _of_one(
        self,
        picture: Picture,
        method: str | Method,
        target: TargetSpec | Sequence[TargetSpec],
        options: Mapping[str, Any],
        *,
        single: bool = False,
    ) -> list[Explanation | MapError]:
        """The results of one picture; "auto" goes on without gradients where they cannot be run."""
        configured = self.configured(method, options)
        try:
            return _or_raise(next(self._explain([picture], configured, target, single=single)))
        except BuiltGraphError:
            if method != AUTO or not configured.needs_gradient:
                raise
        self.without_gradients()
        return self._of_one(picture, method, target, options, single=single)

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
    ) -> Generator[list[Explanation | MapError] | OnnxplainError]:
        """For each picture, in order, the result of `try_each`, or the error that it raises."""
        return self._explain(pictures, self.configured(method, options), target)

    def try_values(
        self,
        pictures: Iterable[Picture],
        method: str | Method = AUTO,
        target: TargetSpec | Sequence[TargetSpec] = "top1",
        **options: Any,
    ) -> Generator[list[ValuesOnly | MapError] | OnnxplainError]:
        """As `try_many`, without heatmaps and pictures, which takes less time and memory."""
        configured = self.configured(method, options)
        targets = self._references.resolved(as_list(target), configured.score)
        many = self._many(self._without_heatmaps(configured), targets, single=False)
        return many.explain(pictures)

    def try_own(
        self,
        pictures: Sequence[Picture],
        targets: Sequence[TargetSpec],
        method: str | Method = AUTO,
        **options: Any,
    ) -> Iterator[Explanation | OnnxplainError]:
        """For each picture, in order, its explanation for its own target, or the error.

        Pictures with different targets run in the same batches, where the targets share a graph, as
        classes do. An array must hold one sample, and a target must mean one number.

        Raises:
            TargetError: what a target compares with cannot be used, or the number of targets is not
                that of the pictures.
        """
        if len(targets) != len(pictures):
            raise TargetError(
                f"There must be one target for each picture, and there are "
                f"{counted(len(targets), 'target')} for {counted(len(pictures), 'picture')}."
            )
        configured = self.configured(method, options)
        specs = self._references.resolved(as_list(targets), configured.score)
        many = self._many(self._with_heatmaps(configured), [], single=True)
        for found in many.explain_own(pictures, specs):
            yield found if isinstance(found, OnnxplainError) else found[0]

    def try_each_own(
        self,
        pictures: Iterable[Picture],
        targets: Iterable[TargetSpec],
        method: str | Method = AUTO,
        **options: Any,
    ) -> Generator[list[Explanation | MapError] | OnnxplainError]:
        """As `try_many`, each picture for its own target, which is read after the picture."""
        many = self._many(self._with_heatmaps(self.configured(method, options)), [], single=True)
        return many.explain_own(pictures, targets)

    def try_own_values(
        self,
        pictures: Iterable[Picture],
        targets: Iterable[TargetSpec],
        method: str | Method = AUTO,
        **options: Any,
    ) -> Generator[list[ValuesOnly | MapError] | OnnxplainError]:
        """As `try_each_own`, without heatmaps and pictures; see `try_values`."""
        explaining = self._without_heatmaps(self.configured(method, options))
        return self._many(explaining, [], single=True).explain_own(pictures, targets)

    def each(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        """The pictures in order, with each sample of an array or .npy file of several by itself."""
        return self._intake.each(pictures)

    def samples(self, pictures: Iterable[Picture]) -> list[Array]:
        """The samples, (1, ...) each, that the model is given for pictures and arrays.

        Raises:
            OnnxplainError: one of them cannot be read, or does not fit the model.
        """
        return [self._intake.take(one).x for one in self.each(pictures)]

    def take(self, picture: Picture) -> Taken:
        """A picture or an array, and the sample, (1, ...), that the model is given for it.

        Raises:
            OnnxplainError: it cannot be read, or does not fit the model.
        """
        return self._intake.take(picture)

    def scene(self, x: Array) -> Scene:
        """A sample, (1, ...), with what is known about its axes."""
        return self._samples.scene(x)

    def subject(
        self, picture: Picture, target: TargetSpec = "top1", score: ScoreKind = "logit"
    ) -> Subject:
        """A picture or an array and one target, to score changed copies of its sample.

        `score` says which number of a class is read, as the option of methods.

        Raises:
            OnnxplainError: as in `explain`.
        """
        taken = self._intake.take(picture)
        specs = self._references.resolved([target], score)
        asked = Request(
            taken.x,
            Occlusion(score=score),
            specs,
            self._others.of(taken.x),
            taken.placement,
            single=True,
        )
        return self._explained.subject(asked)

    def feeds(self, x: Array) -> dict[str, Array]:
        """The values of all inputs of the model for samples (N, ...), by name."""
        self._runner.others = self._others.of(x[:1])
        return self._runner.feeds(self.model, x)

    def predict(self, x: Array) -> dict[str, Array]:
        """All outputs of the model for samples (N, ...), by name, as the model itself gives them.

        Raises:
            ModelError: the model fails, or does not take several samples at once.
        """
        names = [spec.name for spec in self.model.outputs]
        self._runner.others = self._others.of(x[:1])
        return self._runner.tiled(self.model, x, names, 1)

    def kind_of(self, picture: Picture) -> str:
        """What one input is: "picture", or for an array "scene", "volume", "signal" or "row".

        A picture is not read, where the model takes pictures.

        Raises:
            OnnxplainError: it cannot be read, or does not fit the model.
        """
        return self._intake.kind(picture)

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
            for specs in by_what_they_read(targets)
            for found in self._explained.targets(
                Request(taken.x, method, specs, self._others.of(taken.x), taken.placement)
            )
        ]

    def planned(
        self,
        method: Method,
        choose: Callable[[Answered], C],
        reads: tuple[str, ...] = (),
        batch: int | None = None,
    ) -> tuple[Planned, C]:
        """What a graph computes that explains any sample of the usual size.

        It takes `batch` samples; None means any number, if the model does.

        `choose` returns what is explained, from the answer for noise; its target must be of use for
        any sample. `reads` are the tensors that it reads; empty if it reads the tensor of the
        scores. What it returned is the second result.

        Raises:
            OnnxplainError: the method, its options or the target do not fit the model.
        """
        x = self._samples.noise()
        asked = Request(x, method, [], self._others.of(x), self._samples.placement(x))
        return self._explained.planned(asked, choose, reads, batch)

    def with_references(self, target: TargetSpec, score: ScoreKind = "logit") -> TargetSpec:
        """A target, as an object if it compares with a picture, a file or a text.

        Raises:
            TargetError: what it names cannot be used.
        """
        (found,) = self._references.resolved([target], score)
        return found

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

    def similarity_to_text(self, text: str) -> Similarity:
        """The cosine with the embedding of a text, as a target; 'similar:"TEXT"' means the same.

        Raises:
            TargetError: there is no `text_model`, or the text cannot be used.
        """
        return self._references.to_text(text)

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
    ) -> Generator[Explained[Explanation]]:
        """The explanations of each picture, in order, or its error."""
        targets = self._references.resolved(as_list(target), method.score)
        many = self._many(self._with_heatmaps(method), targets, single=single)
        return many.explain(pictures)

    def _with_heatmaps(self, method: Method) -> WithHeatmaps:
        return WithHeatmaps(method, self._samples, self._provenance, self.output)

    def _without_heatmaps(self, method: Method) -> WithoutHeatmaps:
        return WithoutHeatmaps(method, self._samples, self._provenance, self.output)

    def _many(
        self, explaining: Explaining[Made], targets: list[TargetSpec], *, single: bool
    ) -> ManyPictures[Made]:
        return ManyPictures(
            self._explained,
            self._intake,
            self._others,
            explaining,
            targets,
            self.spent,
            single,
            self.workers,
        )

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
            raise TargetError(
                f"The number of targets must be 1 or that of the samples, and there are "
                f"{counted(len(specs), 'target')} for {counted(count, 'sample')}."
            )
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
        return attribution(configured, results, self._samples.spatial(samples), self.output)

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


def _or_raise(found: Found | OnnxplainError) -> Found:
    if isinstance(found, OnnxplainError):
        raise found
    return found
