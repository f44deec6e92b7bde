"""What a transformer attends to in one sample, and gradients of its blocks' scores by that."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from onnxplain.analysis.transformer import Transformer, find_transformer
from onnxplain.autodiff.differentiate import gradient_name, with_gradients
from onnxplain.execution.runner import Runner
from onnxplain.execution.scoring import Scored, seed_tensor, with_seeds
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_shapes
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.block_scores import BLOCK_SCORES, with_block_scores
from onnxplain.transforms.extract import with_outputs


class Tokens:
    """The blocks of a transformer, run on one sample."""

    def __init__(self, runner: Runner, ready: Model, x: Array, score: str) -> None:
        """`ready` is the model made ready for gradients; `x` is (1, ...), as it takes it."""
        self._runner = runner
        self._ready = ready
        self._feeds = runner.feeds(ready, x)
        self._score = score

    @functools.cached_property
    def blocks(self) -> Transformer:
        """What was found in the graph.

        Raises:
            LayerError: no transformer that attends to all tokens of one grid.
        """
        shapes = infer_shapes(self._ready.proto, {n: x.shape for n, x in self._feeds.items()})
        return find_transformer(self._ready, shapes, self._runner.spec.name, self._score)

    @property
    def answers(self) -> Array:
        """Values of the score tensor, (1, ...)."""
        return self._run[self._score][:1]

    @property
    def attention(self) -> list[FloatArray]:
        """The attention of each block, (heads, tokens, tokens)."""
        return [self._matrix(self._run[name]) for name in self.blocks.attention]

    @property
    def read(self) -> FloatArray:
        """How much each token weighs where the score is read from them, (tokens,), 1 in all."""
        blocks = self.blocks
        if blocks.pool is not None:
            pool = self._run[blocks.pool]
            rows = pool.reshape(len(self._feeds[self._runner.spec.name]), -1, pool.shape[-1])[0]
            return np.asarray(rows.mean(axis=0), np.float32)
        weights = np.zeros(blocks.tokens, np.float32)
        weights[list(blocks.read)] = 1 / len(blocks.read)
        return weights

    def gradients(self, asked: Scored) -> list[FloatArray]:
        """Gradients of each block's own scores by its attention, (targets, heads, tokens, tokens).

        Raises:
            LayerError: the tokens after a block are not known.
            GradientError: an operator has no gradient.
        """
        runner, blocks, depth = self._runner, self.blocks, len(self.blocks.attention)
        reading = replace(asked.reading, tensor=BLOCK_SCORES)
        scored = replace(asked, reading=reading)
        gradients = [
            gradient_name(name, t) for t, name in product(range(scored.count), blocks.attention)
        ]

        def differentiated() -> Model:
            with_scores = with_block_scores(self._ready, blocks, self._score)
            seeded = with_seeds(with_scores, scored, None)
            seeds = [seed_tensor(t) for t in range(scored.count)]
            found = with_gradients(seeded, BLOCK_SCORES, blocks.attention, seeds)
            return with_outputs(found, gradients)

        sizes = tuple((name, value.shape) for name, value in self._feeds.items())
        session = runner.session((self._ready, scored.key, self._score, sizes), differentiated)
        cut = [state.tensor for state in blocks.states[:-1] if state is not None]
        rows = len(self._feeds[runner.spec.name]) * depth
        own = scored.feeds(size=rows)
        runner.runs += 1
        values = session.run(
            {**self._feeds, **{name: self._run[name] for name in cut}, **own}, gradients
        )
        found = [self._matrix(value) for value in values[: len(asked.targets) * depth]]
        return [np.stack(found[block::depth]) for block in range(depth)]

    @functools.cached_property
    def _run(self) -> Mapping[str, Array]:
        blocks, runner = self.blocks, self._runner
        states = (state.tensor for state in blocks.states if state is not None)
        pool = [] if blocks.pool is None else [blocks.pool]
        outputs = list(dict.fromkeys([self._score, *blocks.attention, *states, *pool]))
        session = runner.session(
            (self._ready, *outputs), lambda: with_outputs(self._ready, outputs)
        )
        runner.runs += 1
        return dict(zip(outputs, session.run(self._feeds, outputs), strict=True))

    def _matrix(self, value: Array) -> FloatArray:
        """The first sample's, whether batch and heads are merged or not."""
        batch, tokens = len(self._feeds[self._runner.spec.name]), self.blocks.tokens
        matrix: FloatArray = value.reshape(batch, -1, tokens, tokens)[0].astype(np.float32)
        return matrix
