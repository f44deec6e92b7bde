"""`export`: write a file that predicts and explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxplain.errors import OptionError
from onnxplain.explainer import Explainer
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.assemble import assemble
from onnxplain.exporting.file import OutputFile
from onnxplain.exporting.frames import Frame, Pictures, Samples
from onnxplain.exporting.metadata import described
from onnxplain.exporting.parts import Names
from onnxplain.exporting.targets import Chooser
from onnxplain.methods.base import AdaptiveMethod, Method, SinglePassMethod
from onnxplain.methods.registry import AUTO
from onnxplain.model.load import ModelSource
from onnxplain.targets import TargetSpec


def export(
    model: ModelSource | Explainer,
    path: str | Path,
    method: str | Method = AUTO,
    *,
    target: TargetSpec | None = None,
    with_preprocessing: bool = False,
    with_overlay: bool = False,
    external_data: bool = False,
    batch_size: int | None = None,
    **options: Any,
) -> Path:
    """Write a model and a method as one ONNX file, and return its path.

    The file needs only standard operators of ONNX, and those of the model; see docs/export.md. Its
    inputs are those of the model, and `target`, int64 (N): −1 means the class with the largest
    score. A segmenter's file also has `region`, uint8 (N, rows, columns): not 0 where the class is
    explained, and 0 everywhere to explain it where it is predicted. Its outputs are those of the
    model, then `values` (the method's map), `heatmap` (float32 (N, rows, columns) of the model's
    input, in [0, 1]), `status` (int64 (N), 0 if the map shows something) and `explained` (int64
    (N), the class).

    Args:
        model: path, bytes, ModelProto, or an `Explainer` with settings of its own.
        path: the file to write.
        method: as in `Explainer.explain`.
        target: a target that is fixed in the file, which then has no input `target`.
        with_preprocessing: instead of the model's input, the file takes `picture`, uint8 (H, W, 3),
            RGB, of any size, and `heatmap` is (1, H, W), on its pixels.
        with_overlay: the same, with the output `overlay`, uint8 (H, W, 3).
        batch_size: the number of samples that the file takes; by default any, if the model does.
            ONNX Runtime runs gradients faster where the number is fixed. A file that takes pictures
            takes one.
        external_data: write the weights to a file of their own, with `.data` after the name.
        options: the method's own.

    Raises:
        OnnxplainError: the method cannot be exported, the model cannot be explained with it, or the
            file cannot be written.
    """
    explainer = model if isinstance(model, Explainer) else Explainer(model)
    file = OutputFile(Path(path), external_data)
    file.check(explainer.model)
    if explainer.reads_texts:
        raise OptionError(
            "The tokens of a text are explained at their embedding, which a file cannot do: use "
            "explain_text, or `onnxplain run --text`."
        )
    configured = explainer.configured(method, options)
    _check_method(configured)
    chooser = Chooser(explainer, configured, target)
    takes_pictures = with_preprocessing or with_overlay
    batch = 1 if takes_pictures else batch_size
    planned, chosen = explainer.planned(configured, chooser, chooser.reads, batch)
    names = Names.beside(explainer.model)
    frame: Frame
    if takes_pictures:
        frame = _pictures(explainer, planned, names, with_overlay)
    else:
        frame = Samples(planned, explainer.input)
    proto = assemble(planned, chosen, explainer.model, frame, names)
    proto = described(proto, explainer, planned, chosen, names)
    file.write(proto, explainer.model.folder)
    return file.path


def _pictures(explainer: Explainer, planned: Planned, names: Names, with_overlay: bool) -> Pictures:
    """The frame of a file that takes pictures.

    Raises:
        OptionError: the model takes no pictures, or more than one.
    """
    if planned.scene.planes is None or planned.scene.colors is None:
        raise OptionError("The input of this model is no picture: leave out --with-preprocessing.")
    return Pictures(planned, explainer.preprocess, names.picture, with_overlay)


def _check_method(method: Method) -> None:
    """Check that the number of runs of a method is fixed, so that a graph can make them.

    Raises:
        OptionError: the method chooses its samples as it goes, or an average over other samples is
            asked for, or principal components of sums that a Loop computes.
    """
    if isinstance(method, AdaptiveMethod):
        raise OptionError(
            f"{method.name} chooses each changed sample from the results so far, so it cannot be "
            "one graph: export integrated_gradients, occlusion or rise instead."
        )
    if method.averages:
        raise OptionError(
            "smooth aug explains six samples made from each, and a file explains only the samples "
            "that it is given: export without it, and average the maps where the file runs."
        )
    if method.adds_components and not isinstance(method, SinglePassMethod):
        raise OptionError(
            f"A file has no principal components of the sums of {method.name}, which a Loop "
            "computes: export it without smooth, or gradcam with smooth eigen."
        )
