"""Methods for transformers: they use the attention, or the scores of single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.points import Feeds, LayerMasks
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.execution.subject import Structure
from onnxplain.execution.wants import (
    Attention,
    AttentionGradients,
    AttentionRelevance,
    BlockGradients,
    ClassGradients,
    ClassQueries,
    GridKeys,
    TokensRead,
)
from onnxplain.formulas.namespace import Namespace, quotient, relu
from onnxplain.methods.base import Passes, SinglePassMethod
from onnxplain.methods.layer_maps import one_of_each
from onnxplain.methods.options import Option, Score, Switch, WholeOrNone
from onnxplain.methods.perturb_layer import CellMethod
from onnxplain.tensors import FloatArray
from onnxplain.transforms.masks import Along


@dataclass(frozen=True, kw_only=True)
class AttentionMethod(SinglePassMethod):
    """A method whose map is on the grid of a transformer's tokens."""

    needs_sizes = True

    def check_model(self, structure: Structure) -> None:
        """See `SinglePassMethod`.

        Raises:
            LayerError: the model is no transformer that attends to all tokens of one grid.
            OptionError: the model has fewer blocks than the method is to use.
        """
        self.counted(structure)

    def counted(self, structure: Structure) -> int:
        """The number of blocks that are used, counted from the last block backward."""
        return structure.blocks()

    def facts(self, structure: Structure) -> dict[str, Any]:
        """The number of blocks that are used."""
        return {"blocks": self.counted(structure)}


@dataclass(frozen=True, kw_only=True)
class AttentionRollout(AttentionMethod):
    """The row of the class token in the product of (A_l + I) / 2 over all blocks l, last first.

    A_l is the mean of a block's attention over its heads; I represents the residual connection. If
    the score is read from several tokens, as after a mean over the grid, their rows are averaged;
    if attention pools the tokens, it gives the weights. The method uses no class, so every target
    gets the same map.

    Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
    """

    name = "attention_rollout"
    summary = "attention followed through all blocks; the same for all classes"
    paper = "Abnar 2020"
    cost = "1"
    needs_target = False
    wants = (Attention(), TokensRead())

    def map(self, xp: Namespace, attention: Sequence[Any], read: Any) -> Any:
        """See the class."""
        row = read
        for heads in reversed(attention):
            block = xp.mean(heads, axis=-3) + np.eye(heads.shape[-1])
            row = xp.matmul(row, block / xp.sum(block, axis=-1, keepdims=True))
        return xp.sum(row, axis=-2)

    def spent(self, targets: int, before: int) -> Passes:
        """See `SinglePassMethod`: all targets share one pass."""
        return {"forward_passes": before + 1}


@dataclass(frozen=True, kw_only=True)
class LastBlocksMethod(AttentionMethod):
    """A method of which the last blocks can be chosen; all by default."""

    blocks: Annotated[
        WholeOrNone, Option("COUNT", "Blocks of a transformer that count, the last ones.")
    ] = None

    def counted(self, structure: Structure) -> int:
        """See `AttentionMethod`."""
        depth = structure.blocks()
        used = depth if self.blocks is None else self.blocks
        if not 1 <= used <= depth:
            raise OptionError(f"{self.name} takes blocks from 1 to {depth}, and was given {used}.")
        return used

    def last(self, blocks: Sequence[Any]) -> Sequence[Any]:
        """Those of the blocks that count."""
        return blocks if self.blocks is None else blocks[-self.blocks :]


@dataclass(frozen=True, kw_only=True)
class LeGrad(LastBlocksMethod):
    """The mean over blocks l, heads and query tokens of ReLU(∂s_l/∂A_l).

    s_l is the score that block l would have if it were the last one: the model's own head on the
    mean of the tokens after the block. A_l is the block's attention. `blocks` is the number of
    blocks that are used, counted from the last one; all by default. The head of a quantized model
    is used without rounding, because its ranges were measured only after the last block.

    Bousselham et al., "LeGrad: An Explainability Method for Vision Transformers via Feature
    Formation Sensitivity", ICCV 2025.
    """

    name = "legrad"
    summary = "how fast the score of each block changes with its attention"
    paper = "Bousselham 2024"
    cost = "1 with a backward"
    needs_gradient = True
    wants = (BlockGradients(),)

    def map(self, xp: Namespace, gradients: Sequence[Any]) -> Any:
        """See the class."""
        rows = [xp.mean(relu(xp, block), axis=(-3, -2)) for block in self.last(gradients)]
        return sum(rows[1:], start=rows[0]) / len(rows)


@dataclass(frozen=True, kw_only=True)
class WeightedByGradients(LastBlocksMethod):
    """The row of the tokens that are read in Π (I + E_l) − I, over the blocks l, last first.

    E_l is the mean over heads of ReLU(∇A_l ⊙ M_l), where ∇A_l is the gradient of the score at the
    attention of block l, and M_l another matrix of each head, the first that the method wants. If
    attention pools the tokens after the last block, its own E multiplies Π (I + E_l).
    """

    needs_gradient = True

    def map(
        self, xp: Namespace, matrices: Sequence[Any], gradients: Sequence[Any], read: Any
    ) -> Any:
        """See the class."""
        pairs = zip(matrices, gradients, strict=True)
        shares = [xp.mean(relu(xp, m * g), axis=-3) for m, g in pairs]
        row, parts = read, []
        if shares[-1].shape[-2] != shares[-1].shape[-1]:
            *shares, pool = shares
            row = xp.mean(pool, axis=-2, keepdims=True)
            parts.append(row)
        for block in reversed(self.last(shares)):
            parts.append(xp.matmul(row, block))
            row = row + parts[-1]
        return xp.sum(sum(parts[1:], start=parts[0]), axis=-2)


@dataclass(frozen=True, kw_only=True)
class GenericAttention(WeightedByGradients):
    """The row of the class token in Π (I + Ā_l) − I, over the blocks l, last first.

    Ā_l is the mean over heads of ReLU(∇A_l ⊙ A_l), with A_l the attention of block l and ∇A_l the
    gradient of the score there. If the score is read from several tokens, as after a mean over the
    grid, their rows are averaged. The paper does not subtract I, which changes nothing at a class
    token, and otherwise adds the same number to all tokens that are read. If attention pools the
    tokens, its own Ā, averaged over its rows, multiplies the product. `blocks` is the number of
    blocks that are used, counted from the last one; all by default.

    Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and
    Encoder-Decoder Transformers", ICCV 2021, equations 5 and 6.
    """

    name = "generic_attention"
    summary = "attention times its gradient, followed through all blocks"
    paper = "Chefer 2021"
    cost = "1 with a backward"
    wants = (Attention(pool=True), AttentionGradients(), TokensRead())


@dataclass(frozen=True, kw_only=True)
class TransformerAttribution(WeightedByGradients):
    """The row of the class token in Π (I + Ā_l) − I, over the blocks l, last first.

    Ā_l is the mean over heads of ReLU(∇A_l ⊙ R_l), with R_l the relevance of the attention of block
    l and ∇A_l the gradient of the score there. Relevance starts with the derivative of the score by
    the model's answer, which is 1 for a class, and is distributed backward: in layers with weights
    by the positive x w (z⁺), without biases; by shares in sums and in products of activations,
    where a product gives half to each and the shares of a sum are scaled to keep the total;
    normalizations, softmax and activations pass it on unchanged. Rows and `blocks` are those of
    `generic_attention`.

    Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization", CVPR 2021,
    with the rules of the authors' code where it differs from the paper: a product of two
    activations gives half to each, and is not scaled as a sum is.
    """

    name = "transformer_attribution"
    summary = "relevance of attention times its gradient, followed through all blocks"
    paper = "Chefer 2021"
    cost = "1 with 2 backwards"
    distributes = True
    wants = (AttentionRelevance(), AttentionGradients(), TokensRead())

    def spent(self, targets: int, before: int) -> Passes:
        """See `SinglePassMethod`: the gradient and the relevance take a backward pass each."""
        counts = super().spent(targets, before)
        return {**counts, "backward_passes": 2 * counts["backward_passes"]}


@dataclass(frozen=True, kw_only=True)
class GradECLIP(LastBlocksMethod):
    """ReLU(Σ_c w_c λ_i v_ic) of each token i of the grid, added over the last `blocks` blocks.

    w is the gradient of the score at the class token's output of the attention, v_i the value of
    token i, with the channels c of all heads. λ_i is the cosine of the class token's query and the
    token's key, over all heads, scaled to [0, 1] over the grid. Σ_c w_c v_ic is computed as the sum
    over heads of the gradient at the attention of the class token to i, which is the same number.
    The authors' code computes the last block again with a single head to get w; here the gradient
    is that of the model itself.

    Zhao et al., "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024; the
    scaling of λ and several blocks are from the authors' code.
    """

    name = "grad_eclip"
    summary = "values times the gradient at the class token, where keys are like its query"
    paper = "Zhao 2024"
    cost = "1 with a backward to the block"
    needs_gradient = True
    wants = (ClassQueries(), GridKeys(), ClassGradients())

    blocks: Annotated[
        WholeOrNone, Option("COUNT", "Blocks of a transformer that count, the last ones.")
    ] = 1

    def check_model(self, structure: Structure) -> None:
        """See `AttentionMethod`.

        Raises:
            LayerError: as there; or the score is not read from a class token, or no queries and
                keys were found.
            OptionError: as there.
        """
        super().check_model(structure)
        structure.class_token()

    def map(
        self, xp: Namespace, queries: Sequence[Any], keys: Sequence[Any], gradients: Sequence[Any]
    ) -> Any:
        """See the class."""
        blocks = zip(*map(self.last, (queries, keys, gradients)), strict=True)
        maps = [relu(xp, _likeness(xp, q, k) * xp.sum(g, axis=-2)) for q, k, g in blocks]
        return sum(maps[1:], start=maps[0])


def _likeness(xp: Namespace, query: Any, keys: Any) -> Any:
    """λ of `GradECLIP`, (N, tokens); the length of the query cancels."""
    products = xp.sum(xp.matmul(query, keys), axis=(-3, -2))
    cosines = quotient(xp, products, xp.sqrt(xp.sum(keys * keys, axis=(-3, -2))))
    low, high = (end(cosines, axis=-1, keepdims=True) for end in (xp.min, xp.max))
    return quotient(xp, cosines - low, high - low)


@dataclass(frozen=True, kw_only=True)
class ViTReciproCAM(CellMethod):
    """The score when only one patch token of the layer is kept, with the class token.

    The other patch tokens are zero. With `neighbors`, the eight tokens around the kept one are kept
    too, all weighted by the Gaussian [1, 2, 1]ᵀ[1, 2, 1] / 16.

    Byun and Lee, "ViT-ReciproCAM: Gradient and Attention-Free Visual Explanations for Vision
    Transformer", 2023.
    """

    name = "vit_reciprocam"
    summary = "the score of each patch token with the class token"
    paper = "Byun 2022"
    cost = "1 + one head pass per token"
    axis = "T"
    needs = "that holds a transformer's tokens, and {!r} has rows and columns; use reciprocam"

    score: Score = "probability"
    neighbors: Annotated[
        Switch, Option("", "Keep the tokens around a token too, in vit_reciprocam.")
    ] = True

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """One sample for each cell, with only the tokens at this cell (and around it) kept."""
        (layer, _), xp = original.at_layer, original.scene.xp
        cells = np.kron(*(_near(size, self.neighbors) for size in layer.grid))
        kept = np.concatenate([np.ones((len(cells), layer.layout.prefix)), cells], axis=1)
        mask = Along(layer.layout.axes.index("T"))
        made = LayerMasks(mask, Feeds.of({"along": kept.astype(np.float32)}, xp), layer)
        return [Sampling(made, one_of_each(xp, np.arange(len(cells)), len(cells)))]


def _near(size: int, neighbors: bool) -> FloatArray:
    """Weights of all tokens in a row for each kept token, (size, size)."""
    if not neighbors:
        return np.eye(size, dtype=np.float32)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return np.asarray(np.maximum(0, 2 - distance).astype(np.float32) / 4)
