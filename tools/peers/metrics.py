# mypy: disable-error-code="import-untyped, no-untyped-call, no-any-return, misc"
"""Metrics of Quantus, on ONNX Runtime, of pytorch-grad-cam, torch-cam, captum and saliency."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnx import ModelProto
from scipy.special import softmax

from tools.cases.models import Array
from tools.peers import torchvision_shim as torchvision_shim  # noqa: PLC0414

# Quantus imports torchvision, so it comes after the shim.
import quantus  # isort: skip
from quantus.helpers import utils  # isort: skip
from quantus.helpers.model.model_interface import ModelInterface  # isort: skip

Explain = Callable[[ModelProto, Array, int], Array]
"""Makes maps (n, 1, rows, columns) of a model, samples and a class."""

# Quantus takes only modules of torch and Keras, although its metrics only use the interface.
utils.get_wrapped_model = lambda model, **_: model


class OnnxModel(ModelInterface[ModelProto]):
    """A model on ONNX Runtime, and the same model with more and more layers made random.

    With `softmax`, a model that ends in logits predicts probabilities.
    """

    def __init__(
        self, model: ModelProto, forgetful: Sequence[ModelProto] = (), softmax: bool = False
    ) -> None:
        super().__init__(model, channel_first=True, softmax=softmax)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model.SerializeToString(), options)
        self._forgetful = [OnnxModel(one, softmax=softmax) for one in forgetful]

    def predict(self, x: Array, **_: Any) -> Array:
        """Answers of the model, one sample at a time."""
        name = self._session.get_inputs()[0].name
        found = np.concatenate(
            [self._session.run(None, {name: one[None].astype(np.float32)})[0] for one in x]
        )
        return softmax(found, axis=-1) if self.softmax else found

    def shape_input(self, x: Array, shape: tuple[int, ...], *_: Any, **__: Any) -> Array:
        """The samples in the shape of the model's input."""
        return np.reshape(x, shape)

    def get_softmax_arg_model(self) -> ModelProto:
        """See the interface."""
        return self.model

    def get_model(self) -> ModelProto:
        """See the interface."""
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """See the interface."""
        return {}

    def get_random_layer_generator(self, order: str = "", seed: int = 0) -> Any:
        """See the interface."""
        yield from ((str(i), one) for i, one in enumerate(self._forgetful))

    @property
    def random_layer_generator_length(self) -> int:
        """See the interface."""
        return len(self._forgetful)

    def add_mean_shift_to_first_layer(self, *_: Any) -> Any:
        """See the interface."""
        raise NotImplementedError

    def get_hidden_representations(self, *_: Any, **__: Any) -> Any:
        """See the interface."""
        raise NotImplementedError


@dataclass(frozen=True)
class Quantus:
    """Calls of Quantus for one sample and class of a model.

    `explain` is needed by metrics that make maps again. Nothing is made absolute or scaled.
    """

    model: OnnxModel
    x: Array
    index: int
    explain: Explain | None = None

    def __call__(
        self, metric: str, heat: Array, inside: Array | None = None, **options: Any
    ) -> Array:
        """The result for a map (rows, columns), or (channels, rows, columns)."""
        plain = {"abs": False, "normalise": False, "disable_warnings": True}
        made = getattr(quantus, metric)(**{**plain, **options})
        found = made(
            model=self.model,
            x_batch=self.x,
            y_batch=np.array([self.index]),
            a_batch=heat.reshape(1, -1, *self.x.shape[2:]).copy(),
            s_batch=None if inside is None else inside[None, None],
            explain_func=self._explain if self.explain else None,
        )
        return np.asarray(found, np.float64).ravel()

    def _explain(self, model: Any, inputs: Array, targets: Array, **_: Any) -> Array:
        assert self.explain is not None
        proto = model.get_model() if isinstance(model, OnnxModel) else model
        return self.explain(proto, np.asarray(inputs, np.float32), int(targets[0]))


def removed(values: Array) -> Callable[..., Array]:
    """Quantus's hook that puts `values`, flattened, in the place of elements."""

    def perturb(arr: Array, indices: Array, **_: Any) -> Array:
        changed = arr.copy()
        for row, own in zip(changed, indices, strict=True):
            row[own] = values.ravel()[own]
        return changed

    return perturb


def taken_in_turn(samples: Array) -> Callable[..., Array]:
    """Quantus's hook that returns the next of `samples` each time."""
    left = iter(samples)
    return lambda arr, **_: next(left).reshape(arr.shape)


def road_scores(
    module: torch.nn.Module, x: Array, heat: Array, index: int, percentages: Sequence[float]
) -> Array:
    """Scores after pytorch-grad-cam's ROAD imputed the most relevant pixels, without noise."""
    from pytorch_grad_cam.metrics.perturbation_confidence import (
        PerturbationConfidenceMetric,
        RemoveMostRelevantFirst,
    )
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    def score(percentage: float) -> float:
        removal = RemoveMostRelevantFirst(100 - percentage, NoisyLinearImputer(noise=0))
        metric = PerturbationConfidenceMetric(removal)
        given = torch.from_numpy(x), heat[None], [lambda output: output[index]], module
        return float(metric(*given, return_diff=False)[0])

    return np.array([score(percentage) for percentage in percentages])


def cam_times_input(module: torch.nn.Module, x: Array, heat: Array, index: int) -> Array:
    """pytorch-grad-cam's drop and increase: of the score, not of a share of it."""
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence

    given = torch.from_numpy(x), heat[None], [lambda output: output[index]], module
    return np.array([float(made()(*given)[0]) for made in (DropInConfidence, IncreaseInConfidence)])


class _GivenMap:
    """A map in place of one that torch-cam extracts."""

    def __init__(self, module: torch.nn.Module, heat: Array) -> None:
        self.model = module
        self._heat = torch.from_numpy(np.asarray(heat, np.float32))[None]

    def __call__(self, *_: Any, **__: Any) -> list[torch.Tensor]:
        return [self._heat]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return torch.no_grad()


def torch_cam_drop(module: torch.nn.Module, x: Array, heat: Array, index: int) -> Array:
    """torch-cam's average drop and increase, of probabilities."""
    from torchcam.metrics import ClassificationMetric

    metric = ClassificationMetric(_GivenMap(module, heat), lambda out: torch.softmax(out, -1))
    metric.update(torch.from_numpy(x), index)
    found = metric.summary()
    return np.array([found["avg_drop"], found["conf_increase"]])


def torch_cam_curves(
    module: torch.nn.Module, x: Array, heat: Array, index: int, steps: int
) -> Array:
    """torch-cam's deletion and insertion, with zeros as the baseline."""
    from torchcam.metrics import DeletionInsertionMetric

    given = _GivenMap(module, heat)
    metric = DeletionInsertionMetric(given, lambda out: torch.softmax(out, -1), steps=steps)
    metric.update(torch.from_numpy(x), index)
    return np.array([float(value) for value in list(metric.summary().values())[:2]])


def captum_infidelity(
    module: torch.nn.Module, x: Array, phi: Array, index: int, copies: Array, normalize: bool
) -> float:
    """captum's, for the given changed copies of the sample."""
    from captum.metrics import infidelity

    left = iter(copies)

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        changed = torch.from_numpy(np.stack([next(left) for _ in range(len(inputs))]))
        return inputs - changed, changed

    found = infidelity(
        module,
        perturb,
        torch.from_numpy(x),
        torch.from_numpy(phi),
        target=index,
        n_perturb_samples=len(copies),
        normalize=normalize,
    )
    return float(found[0])


def captum_sensitivity(explain: Callable[[Array], Array], x: Array, copies: Array) -> float:
    """Captum's maximal sensitivity, for the given changed copies of the sample."""
    from captum.metrics import sensitivity_max

    left = iter(copies)

    # captum gives a tuple at some places, and at others the tensor in it.
    def tensor(given: torch.Tensor | tuple[torch.Tensor]) -> torch.Tensor:
        return given[0] if isinstance(given, tuple) else given

    def perturb(inputs: Any, _: float = 0) -> tuple[torch.Tensor]:
        return (torch.from_numpy(np.stack([next(left) for _ in range(len(tensor(inputs)))])),)

    def explained(inputs: Any) -> tuple[torch.Tensor]:
        return (torch.from_numpy(np.array(explain(tensor(inputs).numpy()))),)

    found = sensitivity_max(
        explained,
        torch.from_numpy(x),
        perturb,
        n_perturb_samples=len(copies),
    )
    return float(found[0])


def pair_information(
    picture: Array,
    heat: Array,
    kept: Array,
    predict: Callable[[Array], Sequence[float]],
    shares: Sequence[float],
) -> float:
    """PAIR's area below the information curve of a picture (rows, columns, 3), uint8."""
    from saliency.metrics import pic

    if not hasattr(np, "trapz"):  # numpy 2.4 has it under its new name alone
        setattr(np, "trapz", np.trapezoid)  # noqa: B010
    return float(pic.compute_pic_metric(picture, heat, kept, predict, shares, min_pred_value=0).auc)
