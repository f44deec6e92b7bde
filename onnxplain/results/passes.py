"""What an explanation cost, in words."""

from __future__ import annotations

from collections.abc import Mapping


def passes_text(diagnostics: Mapping[str, object]) -> str:
    """Passes through the model, such as "51 forwards, 50 backwards".

    Methods of one pass report no count: those take one forward.
    """
    counts = {name: diagnostics.get(f"{name}_passes") for name in ("forward", "head", "backward")}
    known = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(known) or "1 forward"
