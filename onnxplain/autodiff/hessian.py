"""From a model with gradients to one that also computes products of Hessians and tensors."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from onnxplain.autodiff.differentiate import gradient_name
from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.walk import Walk, nodes_between
from onnxplain.errors import GradientError
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import appended


def hessian_product_name(tensor: str, index: int = 0) -> str:
    """The name of the product of a Hessian and `tensor`, for seed number `index`, from 0."""
    return f"{PREFIX}hessian_product_{index}/{tensor}"


def with_hessian_products(model: Model, wanted: Sequence[str], seeds: int) -> Model:
    """The model with H · w for each tensor w of `wanted` and each seed.

    H is the matrix of second derivatives, with respect to w, of the score that the seed is the
    derivative of. The model must already have the gradients, see `with_gradients`: the product is
    the gradient of Σ w · gradient with w in the first factor kept constant, so the gradient is
    differentiated with w as its seed. It is 0 if the gradient does not depend on w except through
    comparisons, as in a network of rectifiers. The outputs stay as they are.

    Raises:
        GradientError: an operator of the gradient has no gradient.
    """
    g = GradientBuilder.of_model(model, PREFIX + "hessian/")
    for tensor in wanted:
        for index in range(seeds):
            gradient = gradient_name(tensor, index)
            walk = Walk(g, nodes_between(model.index, [tensor], [gradient]), [tensor], STANDARD)
            walk.add(gradient, g.tensor(tensor))
            try:
                (product,) = walk.run()
            except GradientError as error:
                raise GradientError(
                    "The second derivative of the score is not available, because the first one "
                    f"cannot be differentiated. {error}"
                ) from error
            name = hessian_product_name(tensor, index)
            made = g.zeros_like(g.tensor(tensor)) if product is None else product
            g.graph.nodes.append(gs.Node("Identity", name, {}, [made], [gs.Variable(name)]))
    return appended(model, gs.export_onnx(g.graph, do_type_check=False).graph)
