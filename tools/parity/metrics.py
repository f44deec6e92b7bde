"""Differences between our metrics and those of other libraries, on the same model, map and target.

All get the same map, and the same random copies where a metric draws some. Where a metric makes
maps again, both sides make them with onnxplain, so that only the metrics are compared.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onnxplain import Explainer
from onnxplain.methods.smoothgrad import noisy
from onnxplain.metrics.forgetting import all_forgotten, forgetting
from onnxplain.metrics.information import InformationMetric
from onnxplain.metrics.judged import Case as Judgeable
from onnxplain.metrics.judged import Judged
from onnxplain.metrics.registry import make_metric
from onnxplain.metrics.sensitivity import MaxSensitivity
from tools.cases.models import CASES, Array, Case
from tools.parity.maps import Row
from tools.peers import metrics as peers
from tools.peers.modules import torch_module

from quantus.functions.similarity_func import correlation_spearman  # isort: skip

STEPS = 8
"""Quantus wants a divisor of the number of pixels."""

SAMPLES = 8
PERCENTAGES = (10.0, 30.0, 50.0, 70.0)
SHARES = (0.05, 0.1, 0.2, 0.4, 0.75)
METHOD = "gradient"


def _row(
    metric: str, peer: str, ours: object, theirs: object, undone: str = "", shipped: object = None
) -> Row:
    found = np.atleast_1d(np.asarray(theirs, np.float64))
    as_shipped = found if shipped is None else np.atleast_1d(np.asarray(shipped, np.float64))
    return Row(metric, peer, np.atleast_1d(np.asarray(ours)), found, lambda: as_shipped, undone)


def rows(name: str) -> Iterator[Row]:
    """Every metric and peer on a model that ends in logits."""
    case = CASES[name]()
    judgeable = Judgeable.of(case.explainer, case.x, str(case.index))
    random = np.random.default_rng(0)
    # No two values are equal, as libraries differ in the order of equal ones.
    heat = random.permutation(case.x[0, 0].size).reshape(case.x.shape[2:]).astype(np.float32)
    heat /= heat.max()
    judged = judgeable.of_heat("given", heat)
    yield from _changed(case, judged, heat)
    yield from _described(case, judgeable, judged, heat)
    yield from _made_again(case, judgeable)


def _changed(case: Case, judged: Judged, heat: Array) -> Iterator[Row]:
    """Metrics that change the sample as the map says."""
    module, x, index = torch_module(case.model), case.x, case.index
    theirs = peers.Quantus(peers.OnnxModel(case.model), x, index)
    zeros = {"perturb_baseline": "zeros", "steps": STEPS, "score": "logit"}
    curve = make_metric("deletion", zeros).measure(judged).details["scores"]
    flipped = theirs(
        "PixelFlipping",
        np.repeat(heat[None], x.shape[1], axis=0),
        features_in_step=x[0, 0].size // STEPS,
        perturb_func=peers.removed(np.zeros_like(x)),
    )
    # It removes elements, so as many steps as there are channels remove as many pixels.
    flipped = flipped[x.shape[1] - 1 :: x.shape[1]]
    yield _row(
        "deletion, the curve", "Quantus", curve[1:], flipped, "no point before the first step"
    )
    probabilities = {**zeros, "score": "probability"}
    areas = [make_metric(one, probabilities).measure(judged).value for one in _CURVES]
    found = peers.torch_cam_curves(module, x, heat, index, STEPS)
    yield _row("deletion, insertion", "torch-cam", areas, found)
    shown = {"perturb_baseline": "zeros"}
    ours = [make_metric(one, shown).measure(judged) for one in ("average_drop", "increase")]
    drop = peers.torch_cam_drop(module, x, judged.weights, index)
    yield _row("average_drop, increase", "torch-cam", [one.value for one in ours], drop)
    logit = make_metric("increase", {**shown, "score": "logit"}).measure(judged)
    lost = max(logit.details["score"] - logit.details["seen_through_map"], 0)
    found = peers.cam_times_input(module, x, judged.weights, index)
    ours_of = [lost, logit.value]
    yield _row(
        "average_drop · score, increase",
        "pytorch-grad-cam",
        ours_of,
        found,
        "not divided by the score",
    )
    options = {"percentages": PERCENTAGES, "noise": 0, "order": "morf", "score": "logit"}
    imputed = make_metric("road", options).measure(judged).details["morf"]
    found = peers.road_scores(module, x, heat, index, PERCENTAGES)
    yield _row("road, each percentage", "pytorch-grad-cam", imputed, found)
    copies = noisy(judged.case.scene, 0.05, SAMPLES, 0).make(slice(0, SAMPLES))
    phi = judged.on_input.astype(np.float32)
    for normalise in (False, True):
        options = {"perturb_func": "noise", "n_perturb_samples": SAMPLES, "normalise": normalise}
        ours_one = make_metric("infidelity", options).measure(judged).value
        theirs_one = peers.captum_infidelity(module, x, phi, index, copies, normalise)
        named = "infidelity" + (", scaled" if normalise else "")
        yield _row(named, "captum", ours_one, theirs_one)


_CURVES = "deletion", "insertion"


def _described(case: Case, judgeable: Judgeable, judged: Judged, heat: Array) -> Iterator[Row]:
    """Metrics of the map alone, and of where the object is."""
    theirs = peers.Quantus(peers.OnnxModel(case.model), case.x, case.index)
    for name, metric in (("sparseness", "Sparseness"), ("complexity", "Complexity")):
        yield _row(name, "Quantus", make_metric(name).measure(judged).value, theirs(metric, heat))
    ours = make_metric("effective_complexity", {"eps": 0.5}).measure(judged).value
    yield _row(
        "effective_complexity", "Quantus", ours, theirs("EffectiveComplexity", heat, eps=0.5)
    )
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    inside = np.zeros(heat.shape, bool)
    inside[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 6] = True
    known = replace(judgeable, inside=inside).of_heat("given", heat)
    for name, metric in (
        ("pointing_game", "PointingGame"),
        ("relevance_mass_accuracy", "RelevanceMassAccuracy"),
        ("relevance_rank_accuracy", "RelevanceRankAccuracy"),
    ):
        yield _row(
            name, "Quantus", make_metric(name).measure(known).value, theirs(metric, heat, inside)
        )


def _made_again(case: Case, judgeable: Judgeable) -> Iterator[Row]:
    """Metrics that make maps again: of other samples, models and classes."""
    judged = judgeable.explained(METHOD)
    x, index, explainer = case.x, case.index, case.explainer
    forgetful = [one.explainer for one in forgetting(explainer, 3, 0)]
    every = all_forgotten(explainer, 0).explainer
    by_proto = {id(one.model.proto): one for one in (*forgetful, every)}

    def heats(model: object, samples: Array, target: int) -> Array:
        own: Explainer = by_proto.get(id(model), explainer)
        found = own.attribute(samples, METHOD, target).values
        return np.stack([judged.heat_of(one) for one in found])[:, None]

    def on(models: list[Explainer]) -> peers.Quantus:
        protos = [one.model.proto for one in models]
        return peers.Quantus(peers.OnnxModel(case.model, protos, softmax=True), x, index, heats)

    found = on(forgetful)(
        "MPRT",
        judged.heat,
        return_average_correlation=True,
        similarity_func=correlation_spearman,
    )
    ours = make_metric("mprt", {"stages": 3}).measure(judged).value
    undone = "the trained model counts as a layer"
    yield _row("mprt", "Quantus", ours, (4 * found - 1) / 3, undone, found)
    ours = make_metric("efficient_mprt").measure(judged).value
    found = on([every])("EfficientMPRT", judged.heat)
    yield _row("efficient_mprt", "Quantus", ours, found)
    # Quantus and we draw other classes: ours is the one of its two.
    drawn = make_metric("random_logit").measure(judged)
    other = heats(case.model, x, drawn.details["other_class"])
    like = correlation_spearman(judged.heat.ravel(), other.ravel())
    yield _row("random_logit", "Quantus", drawn.value, like, "the class drawn")
    metric = MaxSensitivity(nr_samples=SAMPLES)
    copies = metric.copies(x)
    value = metric.measure(judged).value

    def values(samples: Array) -> Array:
        found: Array = explainer.attribute(samples, METHOD, index).values
        return found

    yield _row("max_sensitivity", "captum", value, peers.captum_sensitivity(values, x, copies))
    quantus_of_values = peers.Quantus(
        peers.OnnxModel(case.model), x, index, lambda _, samples, __: values(samples)
    )
    found = quantus_of_values(
        "MaxSensitivity",
        judged.values,
        nr_samples=SAMPLES,
        perturb_func=peers.taken_in_turn(copies),
    )
    yield _row("max_sensitivity", "Quantus", value, found)


def information_rows(name: str) -> Iterator[Row]:
    """The information curves of a picture of the model's own size, by PAIR."""
    case = CASES[name]()
    explainer = case.explainer
    settings = explainer.preprocess
    picture = np.rint(settings.inverse(case.x)).astype(np.uint8)
    judged = Judgeable.of(explainer, picture, str(case.index)).explained("gradcam")

    def predict(pictures: Array) -> list[float]:
        x = np.concatenate([explainer.take(one).x for one in pictures])
        found = explainer.attribute(x, "eigencam", case.index, score="probability")
        return [float(score) for score in found.scores]

    metric = make_metric("sic", {"saliency_thresholds": SHARES})
    assert isinstance(metric, InformationMetric)
    ours = metric.measure(judged).value
    kept = metric.kept(judged.heat.shape)
    theirs = peers.pair_information(picture, judged.heat, kept, predict, SHARES)
    yield _row("sic", "saliency", ours, theirs, "rounds interpolated pixels; other WebP settings")
