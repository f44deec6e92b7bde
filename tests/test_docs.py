"""The documentation says what the registry holds."""

from pathlib import Path

import pytest

from tools.docs.tables import PAGES, replaced

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_registry(page):
    shown = (ROOT / page).read_text(encoding="utf-8")
    for name, write in PAGES[page].items():
        assert replaced(shown, name, write()) == shown, "run `python -m tools.docs.tables`"
