"""An ONNX Runtime session for a `Model`, with inputs that can stay on the device."""

from __future__ import annotations

import contextlib
import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import (
    ModelError,
    OnnxplainError,
    ProcessError,
    ProviderError,
    limit_reached,
)
from onnxplain.forks import SPAWN, check_process
from onnxplain.model.model import Model
from onnxplain.runtime.backend import CPU, Backend
from onnxplain.runtime.ort import onnxruntime, reason_of
from onnxplain.tensors import Array


class OutOfMemoryError(ModelError):
    """A run needs more memory than the device has free."""


class RefusedError(ModelError):
    """ONNX Runtime cannot open the model, for a `reason` in its own words."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class RunError(ModelError):
    """The model fails at run time, for these inputs or for all."""


_open: weakref.WeakSet[Session] = weakref.WeakSet()
_used: set[str] = set()
_used_by_parent: set[str] = set()
"""Providers."""


def _leave_to_parent() -> None:
    """In a forked process, let no session of the parent end: it would wait for its threads."""
    for session in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _used_by_parent.update(_used)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class Session:
    """Runs one model on the provider that it was opened with.

    `runs` counts the calls, for tests and reports.
    """

    def __init__(self, model: Model, backend: Backend, at_once: int = 1) -> None:
        """Open the session for `at_once` parallel runs.

        Raises:
            RefusedError: ONNX Runtime rejects the model; the message includes its reason.
            OutOfMemoryError: memory or threads are limited.
            ProviderError: ONNX Runtime would use another provider than that of `backend`.
            ProcessError: this process was forked at a bad moment, or after the device was used.
        """
        check_process()
        if backend.provider != CPU and backend.provider in _used_by_parent:
            raise ProcessError(
                f"A process that was forked after {backend.provider} was used cannot use it: "
                f"{SPAWN}, or choose --provider cpu."
            )
        _used.add(backend.provider)
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        # Threads that spin while they wait for work slow down the next session: two sessions used
        # in turn took 1.5 to 1.8 times as long as one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if model.folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(model.folder)
            )
        try:
            # A fall back would be printed to standard output, between results.
            content = model.proto.SerializeToString()
            self._session = backend.open(options, content, at_once, fall_back=False)
        except Exception as error:
            raise _refusal(model, options, backend, error) from error
        _open.add(self)
        self.provider: str = self._session.get_providers()[0]
        if self.provider != backend.provider:
            raise ProviderError(
                f"{backend.provider} was asked for, but ONNX Runtime fell back to {self.provider}: "
                "check the GPU's driver, or choose --provider cpu."
            )
        self._backend = backend
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        self.runs = 0

    def place(self, array: Array) -> Any:
        """Copy an array to the device, so that it can be fed to many runs."""
        contiguous = np.asarray(array, order="C")
        memory, index = self._backend.memory, self._backend.memory_index
        return onnxruntime().OrtValue.ortvalue_from_numpy(contiguous, memory, index)

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> list[Array]:
        """Run once. `feeds` are arrays or values from `place`, by input name.

        Raises:
            OutOfMemoryError: the device does not have enough memory for this batch.
            ModelError: an input has no value, or the model fails at run time.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise ModelError(
                f"The model reads the input {missing[0]!r} too: give its value with "
                f"--input {missing[0]}=VALUE."
            )
        wanted = self.outputs if outputs is None else list(outputs)
        self.runs += 1
        try:
            return self._answers({name: feeds[name] for name in self.inputs}, wanted)
        except Exception as error:
            if limit_reached(error):
                raise OutOfMemoryError(
                    "There is not enough memory on the device to run the model "
                    f"({reason_of(error)}): free some, or choose --provider cpu."
                ) from error
            raise RunError(f"The model fails while running: {reason_of(error)}.") from error

    def _answers(self, feeds: Mapping[str, Any], outputs: list[str]) -> list[Array]:
        found: list[Array]
        if all(isinstance(value, np.ndarray) for value in feeds.values()):
            found = self._session.run(outputs, dict(feeds))
            return found
        binding = self._session.io_binding()
        for name, value in feeds.items():
            placed = self.place(value) if isinstance(value, np.ndarray) else value
            binding.bind_ortvalue_input(name, placed)
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        found = binding.copy_outputs_to_cpu()
        return found


def _refusal(model: Model, options: Any, backend: Backend, error: Exception) -> OnnxplainError:
    """What to say where no session could be opened."""
    if limit := limit_reached(error):
        return OutOfMemoryError(limit)
    name, reason = str(model.path or "the model"), reason_of(error)
    if backend.provider != CPU:
        with contextlib.suppress(Exception):
            Backend().open(options, model.proto.SerializeToString())
            return ProviderError(
                f"{backend.provider} was asked for, but cannot run {name} ({reason}): check the "
                "GPU's driver, or choose --provider cpu."
            )
    return RefusedError(
        f"ONNX Runtime {onnxruntime().__version__} refuses {name}: {reason}. Try a newer ONNX "
        "Runtime, or export the model with standard operators and a lower opset.",
        reason,
    )
