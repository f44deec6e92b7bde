"""Threads, options and devices reach ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError, ProviderError
from onnxplain.model.load import load
from onnxplain.runtime import backend, providers
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.providers import choose_backend
from onnxplain.runtime.session import Session

MODEL = tiny("y = Relu(x)", "float[N,4] x")
CUDA = "CUDAExecutionProvider"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """The threads and the providers of each session that is opened."""
    found: list[tuple[int, Any]] = []

    class Seen(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, model: bytes, options: Any, **more: Any) -> None:
            found.append((options.intra_op_num_threads, more["providers"]))
            super().__init__(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", Seen)
    return found


@pytest.mark.parametrize(
    ("cores", "threads", "at_once", "pool"),
    [
        (4, None, 1, 0),  # ONNX Runtime's default
        (4, None, 4, 1),
        (4, 1, 1, 1),
        (4, 3, 1, 3),
        (4, 3, 2, 2),
        (4, 3, 3, 1),
        (2, 8, 2, 7),
    ],
)
def test_threads_of_a_session(
    cores: int,
    threads: int | None,
    at_once: int,
    pool: int,
    opened: list[tuple[int, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: cores)
    Session(load(MODEL), Backend(threads=threads), at_once)
    ((found, _),) = opened
    assert found == pool
    if threads is not None:
        # A run uses the thread of its caller and the pool, which counts the caller once.
        assert at_once + pool - 1 <= threads


@pytest.mark.parametrize(
    ("cores", "threads", "provider", "runs"),
    [
        (4, None, "CPUExecutionProvider", 4),
        (4, 1, "CPUExecutionProvider", 1),
        (4, 3, "CPUExecutionProvider", 3),
        (4, 9, "CPUExecutionProvider", 4),
        (99, 99, "CPUExecutionProvider", 16),
        (4, 3, CUDA, 1),
    ],
)
def test_parallel_runs(
    cores: int, threads: int | None, provider: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: cores)
    assert Backend(provider, threads=threads).at_once == runs


CONVOLUTION = tiny(
    "a = Conv<pads=[1,1,1,1]>(x, k)  b = Relu(a)  c = GlobalAveragePool(b)  d = Flatten(c)"
    "  y = MatMul(d, w)",
    "float[N,3,8,8] x",
    k=noise(4, 3, 3, 3),
    w=noise(4, 3),
)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion", {"window": 3, "stride": 2}),
        ("rise", {"samples": 40}),
        ("gradcam", {}),
        ("smoothgrad", {"samples": 16}),
        ("scorecam", {}),
    ],
)
def test_values_do_not_depend_on_threads(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: 4)
    x = noise(1, 3, 8, 8)
    found = [
        Explainer(CONVOLUTION, provider="cpu", threads=threads).attribute(x, method, 1, **options)
        for threads in (None, 1, 2, 4)
    ]
    for one in found[1:]:
        np.testing.assert_allclose(one.values, found[0].values, rtol=1e-5, atol=1e-6)


def test_all_sessions_have_no_more_threads(
    opened: list[tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: 16)
    explainer = Explainer(CONVOLUTION, provider="cpu", threads=2)
    explainer.attribute(noise(1, 3, 8, 8), "occlusion", 1, window=1, stride=1)
    explainer.attribute(noise(1, 3, 8, 8), "gradcam", 1)
    assert {threads for threads, _ in opened} == {1, 2}  # with two parallel runs, and with one


@pytest.mark.parametrize("threads", [0, -1])
def test_too_few_threads(threads: int) -> None:
    with pytest.raises(OptionError, match=f"must be at least 1, and is {threads}"):
        Explainer(MODEL, threads=threads)


@pytest.mark.parametrize("provider", ["cpu", "auto"])
def test_the_cpu_takes_no_options(provider: str) -> None:
    """ONNX Runtime itself would ignore them."""
    if provider == "auto" and CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ProviderError, match="takes no options, such as 'arena'"):
        Explainer(MODEL, provider=provider, provider_options={"arena": 1})


@pytest.mark.parametrize(
    ("wanted", "passed", "index"),
    [
        ("cuda", {}, 0),
        ("cuda:1", {"device_id": "1"}, 1),
        ("cuda:gpu", {}, 0),
        ("tensorrt:2", {"device_id": "2"}, 2),
        ("openvino", {}, 0),
        ("openvino:npu", {"device_type": "NPU"}, 0),
    ],
)
def test_devices_of_providers_that_are_part_of_onnx_runtime(
    wanted: str,
    passed: dict[str, str],
    index: int,
    opened: list[tuple[int, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", onnxruntime.get_all_providers)
    monkeypatch.setattr(providers, "load_failure", lambda name: None)
    monkeypatch.setattr(providers, "use_failure", lambda found: None)
    chosen = choose_backend(wanted, {"more": 3})
    assert (chosen.device.index, chosen.memory_index) == (index, index)
    options = onnxruntime.SessionOptions()
    chosen.open(options, MODEL.SerializeToString())
    ((_, given),) = opened
    assert given == [(chosen.provider, {**passed, "more": "3"}), "CPUExecutionProvider"]


def test_a_manifest_says_where_and_how_the_model_was_run() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    explainer = Explainer(CONVOLUTION, provider="cpu", threads=2)
    provenance = explainer.explain(picture, "occlusion", 1, window=3, fill="zeros").provenance
    assert provenance.device == {"type": "cpu", "index": 0, "vendor": ""}
    assert provenance.provider_options == {}
    assert provenance.threads == 2
