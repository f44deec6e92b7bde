"""Providers that are packages of their own: found, registered once, and chosen by their device."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from plugged import ABACUS, CPU, MODULE, PretendedOrt, forget, install
from tiny import tiny

from onnxplain import Explainer
from onnxplain.errors import GradientError, OptionError, ProviderError
from onnxplain.execution import derivatives
from onnxplain.model.load import load
from onnxplain.runtime.backend import Device
from onnxplain.runtime.listing import listed_providers
from onnxplain.runtime.providers import choose_backend
from onnxplain.runtime.session import Session

DEVICES = ("CPU", "AMD"), ("GPU", "NVIDIA"), ("GPU", "")
Plugged = Callable[..., PretendedOrt]


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugged]:
    def have(*devices: tuple[str, str], module: str = MODULE) -> PretendedOrt:
        ort = PretendedOrt(*devices)
        install(monkeypatch, tmp_path, ort, module)
        return ort

    yield have
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("name", ["abacus", "Abacus", ABACUS, ABACUS.lower()])
def test_a_plug_in_by_any_name(name: str, plugged: Plugged) -> None:
    ort = plugged(*DEVICES)
    backend = choose_backend(name)
    assert (backend.provider, backend.device) == (ABACUS, Device("cpu", 0, "AMD"))
    ((registered, path),) = ort.registered
    assert registered == ABACUS
    assert path.endswith("__init__.py")


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", Device("cpu", 0, "AMD")),
        ("GPU", Device("gpu", 1, "NVIDIA")),
        ("0", Device("cpu", 0, "AMD")),
        ("2", Device("gpu", 2, "Abaci")),  # the provider's vendor, where the device has none
    ],
)
def test_a_device(device: str, expected: Device, plugged: Plugged) -> None:
    ort = plugged(*DEVICES)
    backend = choose_backend(f"abacus:{device}", {"size": 13})
    assert backend.device == expected
    x = np.array([[-1.0, 2.0]], np.float32)
    session = Session(load(tiny("y = Relu(x)", "float[N,2] x")), backend)
    np.testing.assert_array_equal(session.run({"x": x})[0], [[0, 2]])
    options = ort.opened[-1].options
    assert options.used == [ort.get_ep_devices()[expected.index]]
    assert options.given == {"size": "13"}
    assert session.provider == ABACUS


def test_a_plug_in_is_registered_once(plugged: Plugged) -> None:
    ort = plugged(*DEVICES)
    for _ in range(3):
        choose_backend("abacus")
    assert len(ort.registered) == 1


def test_a_plug_in_that_other_code_has_registered(plugged: Plugged) -> None:
    ort = plugged(*DEVICES)
    ort.registered.append(("theirs", "a.so"))
    assert choose_backend("abacus").provider == ABACUS
    assert ort.registered == [("theirs", "a.so")]


def test_a_plug_in_without_a_package_that_other_code_has_registered(
    monkeypatch: pytest.MonkeyPatch, plugged: Plugged
) -> None:
    ort = plugged(*DEVICES, module="raise ImportError('not this one')")
    monkeypatch.setattr("onnxplain.runtime.providers.installed_plugins", list)
    ort.registered.append(("theirs", "a.so"))
    assert choose_backend("abacus:gpu").device.vendor == "NVIDIA"


def test_auto_does_not_load_plug_ins(plugged: Plugged) -> None:
    """Their numbers may differ from those of the CPU."""
    ort = plugged(*DEVICES)
    assert choose_backend("auto").provider == CPU
    assert not ort.registered


ONLY_CPU = "give its name without a device"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("abacus:npu", r"has no device 'npu': it has 0 \(cpu, AMD\), 1 \(gpu, NVIDIA\), 2 \(gpu"),
        ("abacus:3", r"has no device '3': it has 0 \(cpu, AMD\), "),
        ("abakus", rf"no provider 'abakus' \(it has .*{CPU}, {ABACUS}\)"),
        ("cpu:1", f"{CPU} has no device '1': it takes cpu"),
        ("azure:gpu", f"AzureExecutionProvider has no device 'gpu': {ONLY_CPU}"),
    ],
)
def test_what_is_not_there(wanted: str, message: str, plugged: Plugged) -> None:
    plugged(*DEVICES)
    if wanted.startswith("azure") and len(onnxruntime.get_available_providers()) == 1:
        pytest.skip("this ONNX Runtime has one provider")
    with pytest.raises(ProviderError, match=message):
        choose_backend(wanted)


@pytest.mark.parametrize("wanted", ["abacus:", "auto:0", "auto:"])
def test_a_device_that_is_not_written_well(wanted: str, plugged: Plugged) -> None:
    plugged(*DEVICES)
    with pytest.raises(OptionError, match=f"'{wanted}' is not written as NAME:DEVICE"):
        choose_backend(wanted)


def test_no_device(plugged: Plugged) -> None:
    plugged()
    with pytest.raises(ProviderError, match=f"{ABACUS} finds no device on this machine"):
        choose_backend("abacus")


def test_options_that_are_refused(plugged: Plugged) -> None:
    plugged(*DEVICES)
    with pytest.raises(
        ProviderError, match=rf"^{ABACUS} refuses the options beads=9: Unknown option: beads\.$"
    ):
        choose_backend("abacus", {"beads": "9"})


@pytest.mark.parametrize("options", [{}, {"size": 1}])
def test_a_device_that_does_not_work(options: dict[str, int], plugged: Plugged) -> None:
    plugged(("GPU", "Broken"))
    with pytest.raises(
        ProviderError, match=r"cannot use its device 0 \(gpu, Broken\): a rod is bent\.$"
    ):
        choose_backend("abacus", options)


def test_long_names_and_reasons_are_cut(plugged: Plugged) -> None:
    plugged(*DEVICES)
    calls = [("x" * 9999, {}), ("abacus", {"beads": "9" * 9999}), (f"abacus:{'9' * 9999}", {})]
    for wanted, options in calls:
        with pytest.raises(ProviderError) as caught:
            choose_backend(wanted, options)
        assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise OSError('no such rod')", "the package onnxruntime-ep-abacus: no such rod"),
        ("", "has no attribute 'get_ep_name'"),
    ],
)
def test_a_broken_package(module: str, reason: str, plugged: Plugged) -> None:
    plugged(*DEVICES, module=module)
    with pytest.raises(ProviderError, match=f"abacus cannot be loaded: .*{reason}"):
        choose_backend("abacus")


def test_a_library_that_does_not_load(plugged: Plugged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real function, with a file that is no library."""
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        pytest.skip("this ONNX Runtime has no plug-ins")
    real = onnxruntime.register_execution_provider_library
    monkeypatch.setattr(PretendedOrt, "register_execution_provider_library", staticmethod(real))
    plugged(*DEVICES)
    with pytest.raises(ProviderError, match=f"{ABACUS} cannot be loaded: .*__init__.py"):
        choose_backend("abacus")


class Old(PretendedOrt):
    """ONNX Runtime before it had plug-ins."""

    __version__ = "1.20.0"

    def __getattribute__(self, name: str) -> object:
        if name in ("register_execution_provider_library", "get_ep_devices"):
            raise AttributeError(name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> object:
        if name in ("register_execution_provider_library", "get_ep_devices"):
            raise AttributeError(name)
        return super().__getattr__(name)


def test_an_old_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, Old(*DEVICES))
    try:
        assert choose_backend("cpu").provider == CPU
        with pytest.raises(ProviderError, match=r"1\.20\.0 has no plug-ins; install version 1\.23"):
            choose_backend("abacus")
        assert CPU in [one.name for one in listed_providers()]
    finally:
        monkeypatch.undo()
        forget()


def test_the_list_says_what_can_be_used(plugged: Plugged) -> None:
    plugged(*DEVICES)
    found = {one.name: one for one in listed_providers()}
    assert not found[CPU].package
    assert not found[CPU].failure
    assert found[ABACUS].short == "abacus"
    assert found[ABACUS].package == "onnxruntime-ep-abacus"
    assert [device.type for device in found[ABACUS].devices] == ["cpu", "gpu", "gpu"]


def test_the_list_says_why_not(plugged: Plugged) -> None:
    plugged(("GPU", "Broken"))
    (abacus,) = [one for one in listed_providers() if one.name == ABACUS]
    assert "a rod is bent" in abacus.failure


@pytest.mark.parametrize(("provider", "ends"), [("abacus", True), ("cpu", False)])
def test_a_provider_whose_answers_differ(
    provider: str, ends: bool, plugged: Plugged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that computes in bfloat16: the error for gradients says where the answers agree."""
    plugged(*DEVICES)
    monkeypatch.setattr(derivatives, "_ROUNDING", -1.0)  # no two answers agree
    model = tiny("y = MatMul(x, w)", "float[N,4] x", w=np.eye(4, 3, dtype=np.float32))
    with pytest.raises(GradientError) as caught:
        Explainer(model, provider=provider).attribute(np.ones((1, 4), np.float32), "gradient", 1)
    assert str(caught.value).endswith(", or --provider cpu.") == ends


def test_an_explainer_in_another_process_has_the_same_settings(plugged: Plugged) -> None:
    plugged(*DEVICES)
    model = tiny("y = Relu(x)", "float[N,4] x")
    settings = {"provider": "abacus:gpu", "provider_options": {"size": 1}, "threads": 3}
    found = pickle.loads(pickle.dumps(Explainer(model, **settings))).backend  # type: ignore[arg-type]
    assert (found.device.index, found.options, found.threads) == (1, {"size": "1"}, 3)


def test_maps_on_a_plug_in_are_those_of_the_cpu(plugged: Plugged) -> None:
    plugged(*DEVICES)
    model = tiny("y = MatMul(x, w)", "float[N,4] x", w=np.eye(4, 3, dtype=np.float32))
    x = np.arange(4, dtype=np.float32)[None]
    explainer = Explainer(model, provider="abacus:gpu", threads=1)
    found = explainer.attribute(x, "gradient", 1)
    np.testing.assert_array_equal(found.values[0].ravel(), [0, 1, 0, 0])
    assert explainer.provider == ABACUS
