"""How the map of any method is made smoother: by other samples, or another sum over channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeVar

from onnxplain.errors import OptionError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.principal_sums import with_principal_sums
from onnxplain.methods.options import Configured, Option, one_of

_SmoothName = Literal["none", "aug", "eigen", "aug+eigen"]
Smooth = Annotated[
    _SmoothName,
    one_of(_SmoothName),
    Option("HOW", "aug: average flipped and scaled inputs; eigen: a principal component."),
]

S = TypeVar("S", bound="Smoothed")


@dataclass(frozen=True, kw_only=True)
class Smoothed(Configured):
    """A method with the option `smooth`.

    With "aug" the explainer averages the maps of the sample, of its mirror image, and of both with
    their intensities scaled. With "eigen" the sum over channels in the formula is replaced, see
    `formulas.principal_sums`. "aug+eigen" does both. The names are those of pytorch-grad-cam, 2021.

    Raises:
        OptionError: the map of the method is no sum over channels, and eigen was chosen.
    """

    sums_channels: ClassVar[bool] = False
    """Whether the map is a sum over channels, which `xp.weighted` or `xp.combined` makes."""

    smooth: Smooth = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adds_components and not self.sums_channels:
            raise OptionError(
                f"smooth eigen replaces the sum over the channels of a layer, and the map of "
                f"{self.name} is no such sum: use gradcam, layercam or hirescam, or smooth aug."
            )

    @property
    def averages(self) -> bool:
        """Whether the maps of changed samples are averaged."""
        return "aug" in self.smooth.split("+")

    @property
    def adds_components(self) -> bool:
        """Whether a sum over channels is replaced by a principal component."""
        return "eigen" in self.smooth.split("+")

    def of_one_sample(self: S) -> S:
        """The same method for a single sample, without an average."""
        kept: _SmoothName = "eigen" if self.adds_components else "none"
        return replace(self, smooth=kept)

    def sums(self, xp: Namespace) -> Namespace:
        """The namespace in which the formula of the map is computed."""
        return with_principal_sums(xp) if self.adds_components else xp
