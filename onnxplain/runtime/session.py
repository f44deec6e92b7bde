"""An ONNX Runtime session over a `Model`, with inputs that stay on the device."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxplain.errors import ModelError, ProviderError
from onnxplain.graph.model import Model
from onnxplain.runtime.ort import onnxruntime
from onnxplain.runtime.providers import device_of
from onnxplain.tensors import Array

_MEMORY = re.compile(
    r"failed to allocate|out of memory|bad_alloc|alloc_failed|available memory of|cudamalloc",
    re.IGNORECASE,
)


class OutOfMemoryError(Exception):
    """A run needed more memory than the device has left."""


class Session:
    """Runs one model on the first provider that it was opened with.

    `runs` counts the calls, for tests and reports.
    """

    def __init__(self, model: Model, providers: Sequence[str]) -> None:
        """Open the session.

        Raises:
            ModelError: ONNX Runtime refuses the model; its reason is passed on.
            ProviderError: the session would run on another provider than the first asked for.
        """
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if model.folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(model.folder)
            )
        try:
            self._session = ort.InferenceSession(
                model.proto.SerializeToString(), options, providers=list(providers)
            )
        except Exception as error:
            raise ModelError(_refusal(model, error)) from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != providers[0]:
            raise ProviderError(
                f"{providers[0]} was asked for, but ONNX Runtime fell back to {self.provider}: "
                "check the GPU's driver, or choose --provider cpu."
            )
        self.device = device_of(self.provider)
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        self.runs = 0

    def place(self, array: Array) -> Any:
        """Put an array on the device, to be fed to many runs."""
        contiguous = np.ascontiguousarray(array)
        return onnxruntime().OrtValue.ortvalue_from_numpy(contiguous, self.device, 0)

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> list[Array]:
        """Run once. `feeds` holds arrays, or values from `place`.

        Raises:
            OutOfMemoryError: the device has not enough memory for this batch.
            ModelError: the model fails at run time.
        """
        binding = self._session.io_binding()
        placed = {
            name: self.place(value) if isinstance(value, np.ndarray) else value
            for name, value in feeds.items()
            if name in self.inputs
        }
        for name, value in placed.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs if outputs is None else outputs:
            binding.bind_output(name, "cpu")
        self.runs += 1
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            if _MEMORY.search(str(error)):
                raise OutOfMemoryError(str(error)) from error
            raise ModelError(f"The model fails while running: {_first_line(error)}") from error
        arrays: list[Array] = binding.copy_outputs_to_cpu()
        return arrays


def _refusal(model: Model, error: Exception) -> str:
    name = str(model.path) if model.path else "the model"
    return f"ONNX Runtime {onnxruntime().__version__} refuses {name}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    """ONNX Runtime's own sentence, without its code in front."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text).strip()
