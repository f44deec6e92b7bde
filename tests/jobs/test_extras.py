"""Packages that only some jobs need: which sentence says that one cannot be loaded."""

from types import ModuleType
from typing import Any

import pytest

from onnxplain.errors import OptionError
from onnxplain.jobs.extras import needed


def refuse(monkeypatch: pytest.MonkeyPatch, error: ImportError) -> None:
    def refused(name: str, *_: Any) -> ModuleType:
        raise error

    monkeypatch.setattr("onnxplain.jobs.extras.import_module", refused)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, ModuleNotFoundError("No module named 'pyarrow'"))
    with pytest.raises(OptionError, match=r"A table needs pyarrow: pip install 'onnxplain\[jobs\]"):
        needed("pyarrow.parquet", "A table")


def test_a_package_for_which_memory_is_missing_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, ImportError("libarrow.so: failed to map segment from shared object"))
    with pytest.raises(ImportError, match="failed to map segment"):
        needed("pyarrow.parquet", "A table")
