"""Sessions, and their error messages."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto
from tiny import noise, tiny

from onnxplain.errors import ModelError, ProviderError
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import OutOfMemoryError, Session

CPU = Backend()
ROW = "float[N,4] x"
X = noise(2, 4)


def opened(model: ModelProto) -> Session:
    return Session(load(model), CPU)


REFUSED = {
    "an unknown operator": (tiny("y = Foo(x)"), "No Op registered for Foo with domain_version"),
    "an unknown domain": (tiny("y = mine.Foo(x)", domains=["mine"]), "mine:Foo(-1) is not a "),
    "an undeclared domain": (tiny("y = mine.Foo(x)"), "No opset import for domain 'mine'"),
    "an opset to come": (tiny("y = Relu(x)", opset=99), "Opset 99 is under development"),
    "an IR to come": (tiny("y = Relu(x)", ir=99), "Unsupported model IR version: 99"),
    "a missing tensor": (tiny("y = Add(x, nothing)"), "Node input 'nothing' is not a graph input"),
    "types that do not match": (tiny("i = Cast<to=7>(x)  y = Add(x, i)"), "Type Error"),
    "shapes that do not match": (
        tiny("y = Add(x, w)", "float[3,5] x", w=np.ones(4, np.float32)),
        "Incompatible dimensions",
    ),
    "an unknown attribute": (tiny("y = Relu<slope=2>(x)"), "Unrecognized attribute: slope"),
    "an operator without a kernel": (
        tiny("y = Conv(x, w)", "double[N,1,8,8] x", "double y", w=np.ones((1, 1, 3, 3))),
        "Could not find an implementation for Conv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_gives_onnx_runtimes_own_reason_and_no_more(name: str) -> None:
    model, reason = REFUSED[name]
    with pytest.raises(ModelError, match=r"^ONNX Runtime [\d.]+ refuses the model: ") as caught:
        opened(model)
    message = str(caught.value)
    assert reason in message
    assert not re.search(r"\.cc:|\.h:\d|ONNXRuntimeError|std::|\n", message)


FAILING = {
    "a reshape": (tiny("y = Reshape(x, s)", ROW, s=np.array([5, -1])), "cannot be reshaped"),
    "an index": (tiny("y = Gather(x, i)", ROW, i=np.array([9])), "out of data bounds, idx=9"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failure_gives_the_reason(name: str) -> None:
    model, reason = FAILING[name]
    with pytest.raises(ModelError, match=r"^The model fails while running: ") as caught:
        opened(model).run({"x": X})
    assert reason in str(caught.value)
    assert not re.search(r"\.cc:|\.h:\d|ONNXRuntimeError|Error in execution|\n", str(caught.value))


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (noise(2, 5), "Got: 5 Expected: 4"),
        (noise(2, 4, 1), "Got: 3 Expected: 2"),
        (X.astype(np.float64), "tensor(double)"),
    ],
)
def test_input_that_does_not_fit(x: np.ndarray, reason: str) -> None:
    with pytest.raises(ModelError, match=re.escape(reason)):
        opened(tiny("y = Relu(x)", ROW)).run({"x": x})


def test_an_input_without_a_value_is_named() -> None:
    session = opened(tiny("a = Mul(x, t)  y = Add(a, u)", ROW + ", float t, float u"))
    with pytest.raises(ModelError, match=r"reads the input 'u' too: .*--input u=VALUE"):
        session.run({"x": X, "t": np.array(2, np.float32)})


def test_what_the_model_does_not_read_is_not_fed() -> None:
    (y,) = opened(tiny("y = Neg(x)", ROW)).run({"x": X, "other": X})
    np.testing.assert_array_equal(y, -X)


def test_a_number_stays_a_number() -> None:
    """With one axis more in the input, the output of Gather would have one axis more."""
    (y,) = opened(tiny("y = Gather<axis=1>(x, i)", ROW + ", int64 i")).run(
        {"x": X, "i": np.array(2)}
    )
    np.testing.assert_array_equal(y, X[:, 2])


@pytest.mark.parametrize("x", [X.T.copy().T, np.broadcast_to(X[:1], (2, 4)), X[::-1]])
def test_arrays_of_any_strides(x: np.ndarray) -> None:
    np.testing.assert_array_equal(opened(tiny("y = Neg(x)", ROW)).run({"x": x})[0], -x)


def test_outputs_that_were_asked_for_in_their_order() -> None:
    session = opened(tiny("y = Neg(x)  z = Exp(x)", ROW, "float y, float z"))
    z, y = session.run({"x": X}, ["z", "y"])
    np.testing.assert_array_equal(y, -X)
    np.testing.assert_allclose(z, np.exp(X), rtol=1e-6)
    assert len(session.run({"x": X}, ["y"])) == 1
    assert session.runs == 2


def test_memory_that_the_machine_does_not_have() -> None:
    model = tiny("a = Expand(x, s)  y = Relu(a)", "float[1] x", s=np.array([4 * 10**12]))
    with pytest.raises(OutOfMemoryError, match=r"not enough memory .*--provider cpu"):
        opened(model).run({"x": np.ones(1, np.float32)})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("std::bad_alloc", "not enough memory"),
        ("Failed to serialize proto", "not enough memory"),
        ("pthread_create failed, error code: 11", "No more threads may be started"),
    ],
)
def test_a_limit_of_the_machine_is_not_the_models_fault(
    monkeypatch: pytest.MonkeyPatch, message: str, words: str
) -> None:
    def limited(*arguments: object, **named: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(onnxruntime, "InferenceSession", limited)
    with pytest.raises(OutOfMemoryError, match=words) as caught:
        opened(tiny("y = Relu(x)", ROW))
    assert "refuses" not in str(caught.value)


def test_a_refusal_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime itself prints that it tries again, between the results of a command."""

    def failing(*arguments: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", failing)
    with pytest.raises(ModelError, match="no such kernel"):
        opened(tiny("y = Relu(x)", ROW))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "message",
    [
        "Failed to allocate memory for requested buffer of size 16000000000000",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=box ; expr=cudaMalloc(&p, size)",
        "BFCArena::AllocateRawInternal Available memory of 1 is smaller than requested bytes of 2",
        "std::bad_alloc",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_messages_that_mean_that_memory_ran_out(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(onnxruntime.InferenceSession):  # type: ignore[misc]
        def run(self, *_: object) -> None:
            raise RuntimeError(message)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Full)
    session = opened(tiny("y = Neg(x)", ROW))
    with pytest.raises(OutOfMemoryError):
        session.run({"x": X})


def test_another_provider_than_the_one_asked_for_is_an_error() -> None:
    available = onnxruntime.get_available_providers()
    missing = next(name for name in onnxruntime.get_all_providers() if name not in available)
    with pytest.raises(ProviderError, match=f"{missing} was asked for, but .*fell back to CPU"):
        Session(load(tiny("y = Neg(x)", ROW)), Backend(missing))
