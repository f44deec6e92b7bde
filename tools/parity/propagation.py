"""Differences of our methods with other backward rules from captum's and zennit's."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import get_args

import numpy as np
import torch

from onnxplain.methods.options import CompositeName
from tools.cases.models import CASES, Array, Case
from tools.parity.maps import Row, export_case
from tools.peers import exports, modules
from tools.peers import propagation as peers

CLASSES = {"net_r": (3, 0), "squeezenet": (285, 100), "efficientnet": (967, 100)}
"""The top class, and another class."""

RELU6 = "ReLU6 is no rectifier"
EPS = "merged normalizations divide by sqrt(1 + eps)"
DEEPLIFT = "overlapping pools, what lies before a pool, ReLU6"
COMPOSITES = [name for name in get_args(CompositeName) if name != "zbox"]  # zennit has no such


def rows(model: str, index: int) -> Iterator[Row]:
    """Every method and peer for a class of a model of `CASES`, which have different baselines."""
    case = CASES[model]()
    torch.set_num_threads(1)
    for method, peer in (("guided_backprop", peers.guided), ("deconvnet", peers.deconvnet)):
        theirs = peer(_module(case), case.x, index)
        shipped = partial(_first, partial(peer, _module(case), case.x, index, as_shipped=True))
        yield Row(method, "captum", _ours(case, method, index), theirs[0], shipped, RELU6)
    yield _deeplift(case, index)
    for composite in COMPOSITES:
        ends = _ends(case)
        ours = _ours(case, "lrp", index, composite=composite, low=ends[0], high=ends[1])
        theirs = peers.zennit(_module(case), case.x, index, composite, *ends)[0]
        yield Row(f"lrp, {composite}", "zennit", ours, theirs, partial(np.asarray, theirs))
    if model != "efficientnet":  # captum's relevance grows without bounds where branches are added
        ours = _ours(case, "lrp", index, composite="epsilon", epsilon=1e-9)
        theirs = peers.captum_lrp(_module(case), case.x, index)[0]
        yield Row("lrp, epsilon by captum", "captum", ours, theirs, lambda: theirs)


def export_rows(index: int, composites: Sequence[str] = COMPOSITES) -> Iterator[Row]:
    """Every method and peer on an exported ResNet and on the module it was made from.

    captum's DeepLIFT refuses that module, because it uses rectifiers twice, and gets the export as
    a module. A ViT has no rectifiers, and captum and zennit have no rules for its attention.
    """
    case, net = export_case("resnet18"), exports.exported("resnet18")
    for method, peer in (("guided_backprop", peers.guided), ("deconvnet", peers.deconvnet)):
        theirs = peer(deepcopy(net.module), case.x, index)[0]
        ours = _ours(case, method, index)
        yield Row(method, "captum", ours, theirs, partial(np.asarray, theirs))
    yield _deeplift(case, index)
    for composite in composites:
        ends = _ends(case)
        ours = _ours(case, "lrp", index, composite=composite, low=ends[0], high=ends[1])
        given = (case.x, index, composite, *ends)
        theirs = peers.zennit_resnet(deepcopy(net.module), *given)[0]
        call = partial(peers.zennit_resnet, deepcopy(net.module), *given, as_shipped=True)
        shipped = partial(_first, call)
        yield Row(f"lrp, {composite}", "zennit", ours, theirs, shipped, EPS)


def _module(case: Case) -> torch.nn.Module:
    """A new module each time, because the peers change it."""
    return modules.torch_module(case.model, "flatten" if case.probability else case.logit)


def _deeplift(case: Case, index: int) -> Row:
    baseline = _baseline(case)
    ours = _ours(case, "deeplift", index, baseline=baseline)
    given = case.x, baseline, index
    theirs = peers.deeplift(_module(case), *given)[0]
    shipped = partial(_first, partial(peers.deeplift, _module(case), *given, as_shipped=True))
    return Row("deeplift", "captum", ours, theirs, shipped, DEEPLIFT)


def _ends(case: Case) -> tuple[Array, Array]:
    """The box of inputs, for the composite that has one."""
    return np.full_like(case.x, -3), np.full_like(case.x, 3)


def _baseline(case: Case) -> Array:
    """Noise: in areas of one color, the values of a pooling window are equal up to rounding."""
    return np.random.default_rng(7).normal(size=case.x.shape).astype(np.float32)


def _ours(case: Case, method: str, index: int, **options: object) -> Array:
    return np.asarray(case.explainer.attribute(case.x, method, index, **options).values[0])


def _first(call: Callable[[], Array]) -> Array:
    return np.asarray(call()[0])
