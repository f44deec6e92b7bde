"""Providers by every name, and why one is not available."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from onnxplain.errors import ProviderError
from onnxplain.runtime import providers
from onnxplain.runtime.ort import onnxruntime as installed
from onnxplain.runtime.providers import choose_backend, load_failure

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Pretend that ONNX Runtime has some providers, and that some of them cannot be loaded."""

    def have(*available: str, broken: dict[str, str] | None = None) -> None:
        fake = SimpleNamespace(
            __version__="9.9.9",
            get_available_providers=lambda: [*available, CPU],
            get_all_providers=onnxruntime.get_all_providers,
        )
        monkeypatch.setattr(providers, "onnxruntime", lambda: fake)
        monkeypatch.setattr(providers, "load_failure", (broken or {}).get)
        monkeypatch.setattr(providers, "installed_plugins", list)

    return have


@pytest.mark.parametrize("name", ["cpu", "CPU", CPU, "cpuexecutionprovider"])
def test_the_cpu_by_any_name(name: str) -> None:
    assert choose_backend(name).provider == CPU


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cuda", CUDA),
        ("CUDAExecutionProvider", CUDA),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("openvino", "OpenVINOExecutionProvider"),
        ("directml", "DmlExecutionProvider"),
        ("qnn", "QNNExecutionProvider"),  # any name that ONNX Runtime lists
    ],
)
def test_names(name: str, expected: str, pretend: Pretend) -> None:
    pretend(expected)
    assert choose_backend(name).provider == expected


@pytest.mark.parametrize(
    ("available", "broken", "expected"),
    [
        ([], {}, CPU),
        ([CUDA], {}, CUDA),
        (["TensorrtExecutionProvider", CUDA], {}, CUDA),  # minutes of building an engine
        (["OpenVINOExecutionProvider"], {}, CPU),
        ([CUDA], {CUDA: "no driver"}, CPU),
    ],
)
def test_auto(
    available: list[str], broken: dict[str, str], expected: str, pretend: Pretend
) -> None:
    pretend(*available, broken=broken)
    assert choose_backend("auto").provider == expected


def test_a_provider_that_the_installed_package_lacks(pretend: Pretend) -> None:
    pretend()
    with pytest.raises(
        ProviderError, match=rf"9\.9\.9 has no provider 'cuda' \(it has {CPU}\)"
    ) as e:
        choose_backend("cuda")
    assert "pip install 'onnxplain[gpu]'" in str(e.value)
    with pytest.raises(ProviderError, match="no provider 'abacus'"):
        choose_backend("abacus")


def test_a_provider_that_cannot_be_loaded_says_why(pretend: Pretend) -> None:
    reason = "libcudnn.so.9: cannot open shared object file"
    pretend(CUDA, broken={CUDA: reason})
    with pytest.raises(ProviderError, match=f"{CUDA} cannot be loaded: {reason}"):
        choose_backend("cuda")


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, library: str, data: bytes) -> None:
    (folder / "capi").mkdir()
    (folder / "capi" / library).write_bytes(data)
    fake = SimpleNamespace(
        __file__=str(folder / "__init__.py"), preload_dlls=lambda directory: None
    )
    monkeypatch.setattr(providers, "onnxruntime", lambda: fake)
    load_failure.cache_clear()


@pytest.mark.parametrize(
    ("library", "provider", "package"),
    [
        ("libonnxruntime_providers_cuda.so", CUDA, "onnxplain[gpu]"),
        ("onnxruntime_providers_cuda.dll", CUDA, "onnxplain[gpu]"),
        ("libonnxruntime_providers_tensorrt.so", "TensorrtExecutionProvider", "tensorrt"),
        ("libonnxruntime_providers_openvino.so", "OpenVINOExecutionProvider", "openvino"),
    ],
)
def test_the_loaders_own_reason_is_passed_on(
    library: str, provider: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is no library simulates a library whose dependencies are missing."""
    fake_package(tmp_path, monkeypatch, library, b"not a library")
    reason = load_failure(provider)
    load_failure.cache_clear()
    assert reason is not None
    assert library in reason
    assert package in reason


class Driver:
    """Simulates every library: the provider's own, which loads, and the NVIDIA driver."""

    def __init__(self, status: int, gpus: int) -> None:
        self.status, self.gpus = status, gpus

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
        count._obj.value = self.gpus  # type: ignore[attr-defined]
        return 0


@pytest.mark.parametrize(
    ("status", "gpus", "reason"),
    [(0, 1, None), (100, 0, "finds no GPU (its error is 100)"), (0, 0, "finds no GPU")],
)
def test_a_machine_without_a_gpu(
    status: int,
    gpus: int,
    reason: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The libraries of CUDA may be installed without a GPU."""
    fake_package(tmp_path, monkeypatch, "libonnxruntime_providers_cuda.so", b"")
    monkeypatch.setattr(providers.ctypes, "CDLL", lambda name: Driver(status, gpus))
    found = load_failure(CUDA)
    load_failure.cache_clear()
    assert found is None if reason is None else reason in str(found)


def test_a_machine_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Driver:
        if "providers" in name:
            return Driver(0, 1)
        raise OSError(f"{name}: cannot open shared object file")

    fake_package(tmp_path, monkeypatch, "libonnxruntime_providers_cuda.so", b"")
    monkeypatch.setattr(providers.ctypes, "CDLL", load)
    found = load_failure(CUDA)
    load_failure.cache_clear()
    assert "install the driver" in str(found)


def test_providers_without_a_library_of_their_own_load() -> None:
    assert load_failure(CPU) is None
    assert load_failure(CUDA) is None  # this package has no such provider: it is not available
    load_failure.cache_clear()


@pytest.mark.parametrize(
    ("name", "memory"),
    [(CPU, "cpu"), (CUDA, "cuda"), ("TensorrtExecutionProvider", "cuda"), ("qnn", "cpu")],
)
def test_where_tensors_are_put(name: str, memory: str, pretend: Pretend) -> None:
    pretend("QNNExecutionProvider", "TensorrtExecutionProvider", CUDA)
    assert choose_backend(name).memory == memory


def test_onnx_runtime_itself_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match=r"pip install 'onnxplain\[cpu\]'"):
        installed()
    monkeypatch.undo()
    installed.cache_clear()
    assert installed() is onnxruntime
