"""Differences of our LRP of a transformer from that of LXT."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from onnxplain import Explainer
from tools.parity.maps import Row
from tools.peers import attention_relevance as peer

CLASSES = range(peer.CLASSES)


def rows(index: int) -> Iterator[Row]:
    """Each rule of attention, for a class of a small transformer on noise."""
    net = peer.Transformer().eval()
    explainer = Explainer(peer.exported(net))
    noise = np.random.default_rng(0).normal(size=(1, peer.TOKENS, peer.WIDTH))
    x = noise.astype(np.float32)
    for attention in peer.BY_ATTENTION:
        options = {"composite": "epsilon", "epsilon": 1e-9, "attention": attention}
        ours = explainer.attribute(x, "lrp", index, **options).values[0]
        theirs = peer.lxt(net, x, index, attention)[0]
        yield Row(f"lrp, {attention}", "LXT", ours, theirs, partial(np.asarray, theirs))
