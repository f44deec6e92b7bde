"""What a model caches about itself."""

from __future__ import annotations

from tiny import tiny

from onnxplain.model.load import load


def test_what_is_found_out_is_looked_for_once_by_each_key() -> None:
    model = load(tiny("y = GlobalAveragePool(x)"))
    looked: list[str] = []

    def look(what: str) -> str:
        looked.append(what)
        return what.upper()

    assert [model.once(what, lambda what=what: look(what)) for what in "aba"] == ["A", "B", "A"]
    assert looked == ["a", "b"]
