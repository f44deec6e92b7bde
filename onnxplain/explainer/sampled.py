"""Run sampled methods: changed samples run in batches, and each batch is reduced at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxplain.execution.points import TARGETS_AT_ONCE, LayerMasks, target_chunks
from onnxplain.execution.sample import Sample
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.methods.base import AdaptiveMethod, Maps, Method, SampledMethod
from onnxplain.tensors import Array, FloatArray

MOST_BYTES = 2**28
"""Bytes that sums of gradients may take; large gradients mean fewer targets per forward pass."""

_BYTES = 24
"""Bytes per element and target: three sums in float64."""


def explain_by_samples(method: Method, sample: Sample) -> Maps:
    """The maps of a sample from a sampled or an adaptive method, for all of its targets.

    Raises:
        MapError: a score or a gradient of a changed sample is not finite, or the method has no map
            for this sample.
    """
    if isinstance(method, AdaptiveMethod):
        return method.maps(sample)
    assert isinstance(method, SampledMethod), "there are three kinds of methods"
    shared = any(want.at_layer for want in method.wants)
    groups = [sample.originals] if shared else [[one] for one in sample.originals]
    runs = [_run(method, sample, originals) for originals in groups]
    layers = [own.at[0] for own in sample.originals if own.at is not None]
    if len(runs) == 1:
        ((maps, spent),) = runs
        return method.joined(maps, layers, spent)
    each = [replace(own, diagnostics={**spent, **own.diagnostics}) for (own,), spent in runs]
    return method.joined(each, layers, {})


def _run(
    method: SampledMethod, sample: Sample, originals: Sequence[Original]
) -> tuple[list[Maps], Counter[str]]:
    """The maps of originals that share their changed samples, and counts of the passes used."""
    method.check_scores(originals[0])
    samplings, before = method.sampling(originals[0]), Counter(sample.spent)
    facts = {name: fact for sampling in samplings for name, fact in sampling.facts().items()}
    references = [x for sampling in samplings for x in _references(sampling)]
    if references:
        absent = np.stack([sample.scores_of(x) for x in references]).mean(0, np.float64)
        originals = [replace(own, absent=absent[:, None]) for own in originals]
    targets = list(range(len(sample.scores)))
    values = [np.empty((len(targets), *own.shape), np.float32) for own in originals]
    diagnostics: list[list[dict[str, Any]]] = [[{}] * len(targets) for _ in originals]
    while targets:
        finer: dict[int, SampledMethod] = {}
        for place, target, found in _found(method, samplings, sample, originals, targets):
            original = originals[place]
            change = float(original.score[target, 0] - original.absent[target, 0])
            values[place][target] = original.laid_out(found)
            diagnostics[place][target] = method.diagnostics_of(found, change)
            if again := method.finer(found, change):
                finer[target] = again
        targets = list(finer)
        if targets:
            method = finer[targets[0]]
            samplings = method.sampling(originals[0])
    spent = Counter({name: passes - before[name] for name, passes in sample.spent.items()})
    if isinstance(samplings[0].made, LayerMasks):
        del spent["forward_passes"]
    else:
        spent["forward_passes"] += 1  # the pass of the sample itself
    return [Maps(own, facts, each) for own, each in zip(values, diagnostics, strict=True)], spent


def _references(sampling: Sampling) -> Iterator[FloatArray]:
    """The samples without content, each (1, ...)."""
    given = sampling.references
    for i in range(0 if given is None else given.count):
        assert given is not None, "there are references"
        yield given.make(slice(i, i + 1))


def _found(
    method: SampledMethod,
    samplings: Sequence[Sampling],
    sample: Sample,
    originals: Sequence[Original],
    targets: Sequence[int],
) -> Iterator[tuple[int, int, Array]]:
    """Yield the index of each original, each target, and the formula's map for them."""
    most = len(targets)
    if any(want.per_target for want in method.wants):
        size = sum(own.scene.x.size if own.at is None else own.at[1].size for own in originals)
        most = max(1, min(TARGETS_AT_ONCE, MOST_BYTES // (_BYTES * size)))
    for chunk in target_chunks(len(targets), most):
        some = [targets[i] for i in chunk]
        sums: dict[tuple[int, ...], dict[str, Array]] = {}
        for sampling in samplings:
            for place, rows, found in sample.found(sampling, method.wants, some):
                own = sums.setdefault((place, *rows), {})
                terms = method.terms(NUMPY, originals[place].of(rows), *found)
                for name, term in terms.items():
                    if name in own:
                        own[name] += term
                    else:
                        own[name] = np.array(term, np.float64)
        for (place, *rows), own in sums.items():
            values = method.map(method.sums(NUMPY), originals[place].of(rows), own)
            yield from ((place, *pair) for pair in zip(rows, values, strict=True))
        del sums, own  # free the memory before the sums of the next targets are made
