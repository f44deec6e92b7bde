"""What sessions run on: a provider, a device, options and threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxplain.runtime.ort import onnxruntime
from onnxplain.runtime.profile import Profiler

CPU = "CPUExecutionProvider"

_MOST_AT_ONCE = 16
"""Limit of parallel runs, because each needs its own memory; more cores speed up all runs."""


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Device:
    """A device of a provider.

    Attributes:
        type: "cpu", "gpu" or "npu"; empty if the provider does not say.
        index: its number among the provider's devices.
        vendor: its maker; empty if not known.
    """

    type: str
    index: int = 0
    vendor: str = ""

    def __str__(self) -> str:
        about = ", ".join(filter(None, [self.type, self.vendor]))
        return f"{self.index} ({about})" if about else str(self.index)


@dataclass(frozen=True, eq=False)
class Backend:
    """How sessions are opened.

    Attributes:
        provider: ONNX Runtime's name of it.
        device: of the provider.
        memory: "cuda" or "cpu": whose memory the provider reads its inputs from.
        options: of the provider, as the user gave them.
        choosing: the options that choose the device, for a provider that is part of ONNX Runtime.
        threads: the most threads of all parallel runs together; None if not given.
        handle: the device, as ONNX Runtime knows it, of a provider that is a plug-in.
        profiler: collects which provider ran each node; None if this is not measured.
    """

    provider: str = CPU
    device: Device = field(default_factory=lambda: Device("cpu"))
    memory: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    choosing: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    handle: Any = None
    profiler: Profiler | None = None

    @property
    def memory_index(self) -> int:
        """The number of the device in whose memory the inputs are."""
        return self.device.index if self.memory != "cpu" else 0

    @property
    def at_once(self) -> int:
        """The best number of parallel runs of different samples.

        On a CPU it is one per core, because threads that share a run wait for each other after
        every node. Measured on two cores, plain runs of five classifiers took 0.71 to 0.91 of the
        time of sequential runs that use both cores, and no batch was more than 3 % faster.
        """
        most = min(cores(), self.threads or cores(), _MOST_AT_ONCE)
        return most if self.provider == CPU else 1

    def open(self, options: Any, model: bytes, at_once: int = 1, *, fall_back: bool = True) -> Any:
        """Open a session of ONNX Runtime with `options`, for `at_once` parallel runs.

        With `fall_back`, ONNX Runtime may use another provider where this one fails.

        Raises:
            Exception: ONNX Runtime refuses the model, or the options of the provider.
        """
        if at_once > 1 or self.threads is not None:
            # Each run also uses the thread that calls it.
            options.intra_op_num_threads = max(1, (self.threads or cores()) - at_once + 1)
        if self.profiler is not None:
            self.profiler.prepare(options)
        if self.handle is not None:
            options.add_provider_for_devices([self.handle], dict(self.options))
            providers = None
        else:
            own = {**self.choosing, **self.options}
            providers = [(self.provider, own), CPU] if self.provider != CPU else [CPU]
        session = onnxruntime().InferenceSession(
            model, options, providers=providers, enable_fallback=fall_back
        )
        if self.profiler is not None:
            self.profiler.watch(session)
        return session
