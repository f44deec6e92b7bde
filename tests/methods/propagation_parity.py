"""How far our methods with other rules are from captum's and zennit's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import numpy as np
import torch
from methods.cases import CASES, Array, Case
from methods.parity import Row
from peers import exports, modules
from peers import propagation as peers

from onnxplain import Explainer
from onnxplain.methods.options import CompositeName

CLASSES = {"net_r": (3, 0), "squeezenet": (285, 100), "efficientnet": (967, 100)}
"""The answer, and another class."""

RELU6 = "ReLU6 is no rectifier"
DEEPLIFT = "overlapping pools, what lies before a pool, ReLU6"
COMPOSITES = [name for name in get_args(CompositeName) if name != "zbox"]  # zennit has no such


def rows(model: str, index: int) -> Iterator[Row]:
    """Every method and peer for a class of a model of `CASES`, which have different baselines."""
    case = CASES[model]()
    torch.set_num_threads(1)
    baseline = _baseline(case)
    for method, peer in (("guided_backprop", peers.guided), ("deconvnet", peers.deconvnet)):
        theirs = peer(_module(case), case.x, index)
        shipped = partial(_shipped, peer, case, index)
        yield Row(method, "captum", _ours(case, method, index), theirs[0], shipped, RELU6)
    ours = _ours(case, "deeplift", index, baseline=baseline)
    theirs = peers.deeplift(_module(case), case.x, baseline, index)
    lifted = partial(peers.deeplift, _module(case), case.x, baseline, index, as_shipped=True)
    yield Row("deeplift", "captum", ours, theirs[0], lambda: lifted()[0], DEEPLIFT)
    for composite in COMPOSITES:
        low, high = np.full_like(case.x, -3), np.full_like(case.x, 3)
        options = {"composite": composite, "low": low, "high": high}
        ours = _ours(case, "lrp", index, **options)
        theirs = peers.zennit(_module(case), case.x, index, composite, low, high)[0]
        yield Row(f"lrp, {composite}", "zennit", ours, theirs, partial(np.asarray, theirs))
    if model != "efficientnet":  # captum's relevance grows without bounds where branches are added
        ours = _ours(case, "lrp", index, composite="epsilon", epsilon=1e-9)
        theirs = peers.captum_lrp(_module(case), case.x, index)[0]
        yield Row("lrp, epsilon by captum", "captum", ours, theirs, lambda: theirs)


def export_rows(index: int) -> Iterator[Row]:
    """Composites on an exported ResNet and on the module it was made from."""
    net = exports.exported("resnet18")
    explainer = Explainer(net.model, provider="cpu")
    for composite in ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2beta1_flat"):
        found = explainer.attribute(net.x, "lrp", index, composite=composite)
        theirs = peers.zennit_resnet(net.module, net.x, index, composite)[0]
        ours = np.asarray(found.values[0])
        yield Row(f"lrp, {composite}", "zennit", ours, theirs, partial(np.asarray, theirs))


def _module(case: Case) -> torch.nn.Module:
    """Made anew, since the peers change it."""
    return modules.torch_module(case.model, "flatten" if case.probability else case.logit)


def _baseline(case: Case) -> Array:
    """Noise: where a picture is plain, maxima are equal but for rounding, and may go anywhere."""
    return np.random.default_rng(7).normal(size=case.x.shape).astype(np.float32)


def _ours(case: Case, method: str, index: int, **options: object) -> Array:
    return np.asarray(case.explainer.attribute(case.x, method, index, **options).values[0])


def _shipped(peer: Callable[..., Array], case: Case, index: int) -> Array:
    return np.asarray(peer(_module(case), case.x, index, as_shipped=True)[0])
