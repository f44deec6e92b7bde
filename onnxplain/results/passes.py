"""How many passes through the model an explanation needed, in words."""

from __future__ import annotations

from collections.abc import Mapping


def passes_text(diagnostics: Mapping[str, object]) -> str:
    """The number of passes through the model, such as "51 forwards, 50 backwards".

    Methods whose diagnostics have no count need one forward pass.
    """
    counts = {name: diagnostics.get(f"{name}_passes") for name in ("forward", "head", "backward")}
    known = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(known) or "1 forward"
