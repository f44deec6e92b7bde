"""What each method cannot explain, for the documentation."""

from __future__ import annotations

from collections.abc import Mapping

_ONE_WEIGHT = (
    "a transformer: it weights a channel once for the whole grid, and there what a channel means"
    " differs from token to token"
)
_POLES = (
    "a layer with negative activations: the weights have poles there, and rounding alone can change"
    " the map"
)
_LINEAR_HEAD = "a model without global pooling and one linear layer after it: it is refused"
_PLAIN_ATTENTION = (
    "transformers with windows, stages, pooled keys, talking heads or attention between channels:"
    " they are refused with the reason"
)
_FLOOR = (
    "the outline of an object: the whole map lies above a floor, so trust the largest values more"
)
_FOR_ONLY = "what lowers the score: only positive products with the gradient count"
_BASELINE = "an input that equals the baseline: from black, black pixels get the value 0"
_NO_SIGN = (
    "the sign: a cell that lowers the score has a high value, too; and detail smaller than a cell"
)
_RECTIFIERS = "a network without rectifiers: it is refused"

LIMITS: Mapping[str, str] = {
    "scorecam": "which of two classes, where a layer has many channels: the weights are a softmax"
    " over all channels of differences of probabilities, so with a thousand channels they are"
    " nearly equal, and the maps of two classes in one picture look alike",
    "ablationcam": _ONE_WEIGHT,
    "reciprocam": "what only several cells show together: each cell is kept alone; transformers are"
    " refused, take `vit_reciprocam`",
    "cam": _LINEAR_HEAD,
    "eigencam": "a class: every target gets the same map, which shows what dominates the layer; in"
    " a transformer that is often the background",
    "kpcacam": "a class: every target gets the same map; and a layer with large activations: the"
    " kernel's tanh cannot tell large products apart",
    "fem": "a class: every target gets the same map; and a pattern that covers much of the"
    " picture, because few of its cells are far above the mean",
    "occlusion": "detail smaller than the window, and what is seen in two places, so that covering"
    " one of them changes nothing",
    "drise": "detail smaller than a cell of its masks; it explains boxes of detectors only",
    "rise": "detail smaller than a cell of its masks; with few samples the map is noisy",
    "sobol": f"{_NO_SIGN}. Cells are half transparent, which the model may never have seen",
    "hsic": f"{_NO_SIGN}. A cell that matters only together with others has a low value",
    "feature_maps": "a class: it shows a layer as it is",
    "gradient": "a saturated or noisy model: the map says how the score changes with a very small"
    " change, and no more",
    "input_x_gradient": "inputs that are 0: their value is 0; and what `gradient` does not explain",
    "smoothgrad": "which of two classes, often: it shows the objects of both classes",
    "smoothgrad_squared": "the sign: what raises and what lowers the score looks the same",
    "vargrad": "the sign: what raises and what lowers the score looks the same",
    "integrated_gradients": _BASELINE,
    "blur_ig": "flat areas: what is absent is detail, and blur changes nothing there",
    "guided_ig": f"{_BASELINE}; the values add up less well, and rounding alone can change the"
    " path",
    "expected_gradients": "the score exactly: points are drawn at random, which leaves a gap; the"
    " values depend on the baselines that are given",
    "xrai": "detail smaller than a segment: each region has one value, also its background; texts,"
    " signals and rows of features are refused",
    "guided_backprop": "the class: it shows edges, and hardly changes with the target;"
    f" {_RECTIFIERS}",
    "deconvnet": "the picture, in a network without max pooling: hardly anything of the picture"
    f" enters the map there; {_RECTIFIERS}",
    "gradcam": f"{_ONE_WEIGHT}. The mean of the gradient loses how it differs from cell to cell",
    "gradcam++": f"{_ONE_WEIGHT}; {_POLES}",
    "smooth_gradcam++": f"{_ONE_WEIGHT}; {_POLES}",
    "xgradcam": _ONE_WEIGHT,
    "shapleycam": f"{_ONE_WEIGHT}; and a layer after which the model is piecewise linear, with a"
    " logit as score: the map is that of `gradcam` there",
    "odam": "what lowers the score; and what `hirescam` does not explain",
    "hirescam": "a layer before a layer normalization: the map is 0 there",
    "layercam": "what lowers the score: only positive gradients count",
    "eigengradcam": "more than one pattern: the first principal direction alone is shown",
    "guided_gradcam": _RECTIFIERS,
    "fullgrad": "the sign, and how much each channel adds: every channel counts with its least"
    " value as 0 and its largest as 1",
    "regression_activation_map": _LINEAR_HEAD,
    "lime": "a score that is far from linear in the segments: `fit_r2` says how much of the score"
    " the linear model explains",
    "glime": "what the score does far from the picture: with a small `kernel_width`, hardly any"
    " segment is removed; `fit_r2` says how much of the score the linear model explains",
    "kernelshap": "what is inside a segment: each has one value; with more than eleven segments"
    " the values are estimates, which still add up",
    "deeplift": f"{_BASELINE}; a model with an operator that has no rule: it is refused",
    "attention_rollout": f"a class: every target gets the same map; {_FLOOR}; {_PLAIN_ATTENTION}",
    "legrad": f"{_FLOOR}; {_PLAIN_ATTENTION}",
    "generic_attention": f"{_FOR_ONLY}; {_PLAIN_ATTENTION}",
    "transformer_attribution": f"{_FOR_ONLY}; a probability, or another target that is no sum of"
    " scores, and models that round activations, as in int8: both are refused;"
    f" {_PLAIN_ATTENTION}",
    "grad_eclip": f"a score that is not read from a class token: it is refused; {_FOR_ONLY};"
    f" {_PLAIN_ATTENTION}",
    "vit_reciprocam": "a layer with rows and columns: it is refused, take `reciprocam`",
    "lrp": "the score's size, where biases absorb most of the relevance: `conservation_gap` says"
    " how much, and the map's scale means little then; see the warning that the sum is lost",
    "activation_maximization": "a picture: it shows what a class or a channel responds to, not"
    " where a picture has it",
}
