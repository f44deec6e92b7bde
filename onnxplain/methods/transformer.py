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
from onnxplain.execution.wants import Attention, AttentionGradients, TokensRead
from onnxplain.formulas.namespace import Namespace, relu
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
class LeGrad(AttentionMethod):
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
    wants = (AttentionGradients(),)

    blocks: Annotated[
        WholeOrNone, Option("COUNT", "Blocks of a transformer that count, the last ones.")
    ] = None

    def counted(self, structure: Structure) -> int:
        """See `AttentionMethod`."""
        depth = structure.blocks()
        used = depth if self.blocks is None else self.blocks
        if not 1 <= used <= depth:
            raise OptionError(f"legrad takes blocks from 1 to {depth}, and was given {used}.")
        return used

    def map(self, xp: Namespace, gradients: Sequence[Any]) -> Any:
        """See the class."""
        counted = gradients if self.blocks is None else gradients[-self.blocks :]
        rows = [xp.mean(relu(xp, block), axis=(-3, -2)) for block in counted]
        return sum(rows[1:], start=rows[0]) / len(rows)


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
