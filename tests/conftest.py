"""How the tests are divided among processes."""

from __future__ import annotations

import os

import pytest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """None for a process for each core; 0 for this process alone, which also shows prints."""
    # Slow tests need most of the memory, those of the GPU share one, and a few files take less
    # time than new processes need to import everything.
    parallel = config.option.markexpr in config.getini("addopts")
    return None if parallel and not any(".py" in name for name in config.args) else 0


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the cores do not each start a thread for every core."""
    if config.getoption("numprocesses", None):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
