"""A namespace in which sums over channels are replaced by their first principal component."""

from __future__ import annotations

from typing import Any, cast

from onnxplain.formulas.namespace import Namespace

_CELLS = (-2, -1)


def with_principal_sums(xp: Namespace) -> Namespace:
    """The functions of `xp`, with other sums over channels.

    In place of Σ_k w_k A^k stands the projection of the products w_k A^k, as (cells, channels), on
    their first principal direction, after the mean of each channel over the cells is subtracted.
    This is the eigen_smooth of pytorch-grad-cam (Gildenblat et al., 2021). The sign of a direction
    is arbitrary; it is chosen so that the projection agrees with the sum.
    """
    return cast(Namespace, _PrincipalSums(xp))


class _PrincipalSums:
    def __init__(self, xp: Namespace) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def weighted(self, weights: Any, a: Any) -> Any:
        """See `Namespace`."""
        return self._component(weights * a)

    def combined(self, weights: Any, a: Any) -> Any:
        """See `Namespace`."""
        xp, (channels, cells) = self._xp, a.shape[-2:]
        products = xp.unflattened(weights, (channels, 1)) * a
        return xp.sum(self._component(xp.unflattened(products, (1, cells))), axis=-2)

    def _component(self, products: Any) -> Any:
        """The map (..., rows, columns) in place of the sum of (..., channels, rows, columns)."""
        xp, total = self._xp, self._xp.sum(products, axis=-3)
        centered = products - xp.mean(products, axis=_CELLS, keepdims=True)
        projected, _ = xp.principal(centered)
        agreement = xp.sum(projected * total, axis=_CELLS, keepdims=True)
        return xp.where(agreement < 0, -projected, projected)
