"""What methods declare of themselves agrees."""

import pytest

from onnxplain.methods.base import AdaptiveMethod, Method
from onnxplain.methods.registry import METHODS

PLAIN = [kind for kind in METHODS.values() if not issubclass(kind, AdaptiveMethod)]


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.name)
def test_needs_gradient_is_said_of_methods_that_want_one(kind: type[Method]) -> None:
    """It decides which passes are counted, and what is said of values that are not finite."""
    wants = [type(want).__name__ for want in kind().wants]  # type: ignore[attr-defined]
    assert kind.needs_gradient == any("Gradient" in name for name in wants), wants
