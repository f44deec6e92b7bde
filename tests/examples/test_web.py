"""The page of examples/web in headless Chromium, with real clicks: see examples/web/README.md."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from page_exports import (
    PREPROCESS,
    detector_export,
    endless_export,
    prepared_export,
    tiny_export,
)

import onnxplain
from onnxplain.results.render.colormaps import colormap_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "web"
MODULES = PAGE / "node_modules"
CHROMIUM = shutil.which("chromium")
MISSING = [
    what
    for what, found in {
        "chromium": CHROMIUM,
        "node": shutil.which("node"),
        "onnxruntime-web": (MODULES / "onnxruntime-web").is_dir(),
        "puppeteer-core": (MODULES / "puppeteer-core").is_dir(),
    }.items()
    if not found
]
MODELS = ["squeezenet1_1.onnx", "digit_vit.onnx", "squeezenet.gradcam.onnx"]
SQUEEZENET = ROOT / "models" / "squeezenet1_1.onnx"
REFUSED = {
    "squeezenet1_1.onnx": "squeezenet1_1.onnx is an ONNX model that does not explain itself.",
    "fixed.onnx": "fixed.onnx explains only one thing, 967 espresso.",
    "detector.onnx": "detector.onnx has no output with one number for each class",
    "letterbox.onnx": "its metadata does not say how this page can prepare it",
    "damaged.onnx": "damaged.onnx is not an ONNX file, or it is damaged.",
    "text.onnx": "text.onnx is not an ONNX file, or it is damaged.",
    "broken.png": "The browser cannot read broken.png as a picture.",
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]


def picture(rows: int, columns: int) -> np.ndarray:
    """Noise, with more red than green, and more green than blue: uint8 (rows, columns, 3), RGB."""
    noise = np.random.default_rng(rows).random((rows, columns, 3)) * [255, 200, 100]
    return np.asarray(noise, np.uint8)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder to pages of all origins, and counts requests."""

    def do_GET(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Two servers of the same folder: two ports are two origins."""
    root = tmp_path_factory.mktemp("served")
    handler = functools.partial(_Handler, directory=str(root))
    running = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in running:
        server.requests = 0  # type: ignore[attr-defined]
        server.root = root  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield running
    for server in running:
        server.shutdown()
        server.server_close()


def publish(folder: Path, files: list[dict[str, str]], pictures: list[str]) -> None:
    """Copy the page, with its own models.json."""
    ignored = shutil.ignore_patterns("node_modules", "files")
    shutil.copytree(PAGE, folder, ignore=ignored)
    shown = [{"file": f"files/{name}", "name": name} for name in pictures]
    (folder / "models.json").write_text(json.dumps({"files": files, "pictures": shown}))
    (folder / "files").symlink_to(folder.parent / "files")


def entry(model: str, method: str, file: str) -> dict[str, str]:
    return {"model": model, "method": method, "file": file}


@pytest.fixture(scope="module")
def seen(servers: list[Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What users saw, scenario by scenario."""
    own, other = servers
    root, addresses = own.root, [f"http://127.0.0.1:{server.server_port}" for server in servers]
    files = root / "files"
    bad = write_files(files)
    squeezenet = [
        entry("SqueezeNet", method, f"files/squeezenet.{method}.onnx")
        for method in ("gradcam", "layercam")
    ]
    tiny_entry = entry("Tiny", "Channels", "files/tiny.onnx")
    publish(root / "page", [*squeezenet, tiny_entry], ["coffee.png"])
    publish(root / "tiny", [tiny_entry], ["wide.png"])
    publish(root / "bare", [tiny_entry], [])
    publish(root / "foreign", [entry("Foreign", "CAM", f"{addresses[1]}/files/tiny.onnx")], [])
    for page in ("page", "tiny", "foreign"):
        (root / page / "node_modules").symlink_to(MODULES)
    downloads = tmp_path_factory.mktemp("downloads")
    given = {
        "chromium": CHROMIUM,
        "modules": str(MODULES),
        "profile": str(tmp_path_factory.mktemp("profile")),
        "downloads": str(downloads),
        **{page: f"{addresses[0]}/{page}/" for page in ("page", "tiny", "bare", "foreign")},
        "other": f"{addresses[1]}/files/tiny.onnx",
        "files": str(files),
        "bad": bad,
        "models": MODELS,
    }
    driver = Path(__file__).parent / "web" / "scenarios.mjs"
    done = subprocess.run(
        ["node", driver, json.dumps(given)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["other requests"] = other.requests
    found["files"], found["downloads"] = files, downloads
    return found


def write_files(files: Path) -> list[str]:
    """Write all files that the scenarios use; return the names of those that the page refuses."""
    files.mkdir()
    shutil.copy(ROOT / "models" / "pictures" / "coffee.png", files)
    for name, size in {"wide.png": (20, 30), "tall.png": (40, 24)}.items():
        cv2.imwrite(str(files / name), picture(*size)[..., ::-1])
    cv2.imwrite(str(files / "large.png"), np.zeros((1000, 2000, 3), np.uint8))
    for method in ("gradcam", "layercam"):
        path = files / f"squeezenet.{method}.onnx"
        onnxplain.export(SQUEEZENET, path, method=method, with_preprocessing=True)
    for name in ("squeezenet1_1.onnx", "digit_vit.onnx"):
        (files / name).symlink_to(ROOT / "models" / name)
    onnxplain.export(SQUEEZENET, files / "fixed.onnx", method="gradcam", target="espresso")
    onnx.save(tiny_export(), files / "tiny.onnx")
    onnx.save(detector_export(), files / "detector.onnx")
    onnx.save(endless_export(), files / "endless.onnx")
    onnx.save(prepared_export(PREPROCESS), files / "prepared.onnx")
    onnx.save(prepared_export({**PREPROCESS, "fit": "letterbox"}), files / "letterbox.onnx")
    (files / "damaged.onnx").write_bytes((files / "tiny.onnx").read_bytes()[:-100])
    (files / "text.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    (files / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    return [*REFUSED]


def part(seen: dict[str, Any], name: str) -> Any:
    """What was seen in a scenario that came to its end."""
    assert "failed" not in seen[name], seen[name]["failed"]
    return seen[name]


def array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.float32)


def heatmap(answer: dict[str, Any]) -> np.ndarray:
    return array(answer["heatmap"]).reshape(answer["size"])


def expected(model: Path, image: np.ndarray, rank: int) -> dict[str, np.ndarray]:
    """The outputs of ONNX Runtime in Python for the top class (rank 0), the second (1), ..."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (scores,) = session.run(["prob"], {"picture": image, "target": np.array([-1])})
    feeds = {"picture": image, "target": np.argsort(-scores[0])[[rank]]}
    return dict(zip(names, session.run(None, feeds), strict=True))


def test_numbers_are_those_of_onnx_runtime_in_python(seen):
    image = cv2.imread(str(ROOT / "models/pictures/coffee.png"))[..., ::-1].copy()
    for answer, method, rank in (
        (part(seen, "first")["answer"], "gradcam", 0),
        (part(seen, "methods")["third"], "gradcam", 2),
        (part(seen, "methods")["switched"], "layercam", 2),
    ):
        wanted = expected(seen["files"] / f"squeezenet.{method}.onnx", image, rank)
        assert answer["explained"] == wanted["explained"][0]
        assert answer["status"] == wanted["status"][0] == 0
        np.testing.assert_allclose(array(answer["scores"]), wanted["prob"][0], atol=1e-5)
        np.testing.assert_allclose(heatmap(answer), wanted["heatmap"][0], atol=1e-5)


def test_the_first_example_is_explained_and_only_the_pages_server_is_asked(seen):
    first = part(seen, "first")
    assert first["answer"]["caption"] == "espresso, explained by gradcam"
    assert first["answer"]["pressed"] == ["espresso"]
    assert "CPU (WebAssembly, 1 thread)" in first["answer"]["facts"]
    assert "600 × 400 pixels" in first["answer"]["facts"]
    assert not first["notice"]
    assert first["errors"] == []
    origin = first["addresses"][0].removesuffix("/page/")
    asked = [address.removeprefix("blob:") for address in first["addresses"]]
    assert [address for address in asked if not address.startswith(origin)] == []


def test_another_origin_is_out_of_reach_of_the_page_and_of_its_worker(seen):
    foreign = part(seen, "foreign")
    assert "tiny.onnx could not be loaded" in foreign["refused"]
    assert foreign["fetched"] == "refused"
    assert seen["other requests"] == 0


def test_the_clicked_class_is_explained_until_it_is_clicked_again(seen):
    found = part(seen, "picture")
    image = picture(40, 24)
    wanted = {
        rank: expected(seen["files"] / "squeezenet.gradcam.onnx", image, rank) for rank in (0, 1)
    }
    for step, rank in (("chosen", 0), ("second", 1), ("again", 0)):
        assert found[step]["size"] == [40, 24]
        assert found[step]["explained"] == wanted[rank]["explained"][0]
        np.testing.assert_allclose(heatmap(found[step]), wanted[rank]["heatmap"][0], atol=1e-5)
    assert found["dropped"]["size"] == [20, 30]


def test_a_large_picture_is_reduced_and_the_page_says_so(seen):
    large = part(seen, "picture")["large"]
    assert large["size"] == [640, 1280]
    assert "1280 × 640 pixels, reduced from 2000 × 1000" in large["facts"]


def test_methods_and_models_are_switched(seen):
    found = part(seen, "methods")
    assert found["switched"]["method"] == "layercam"
    assert found["switched"]["explained"] == found["third"]["explained"]
    assert found["model"]["method"] == "Channels"
    assert found["model"]["explained"] == 0


def test_the_map_lies_on_the_picture_with_the_chosen_opacity(seen):
    """The saved file, against the formula of onnxplain's own overlays."""
    found = part(seen, "overlay")
    assert (found["opacity"], found["value"]) == ("0.5", "50 %")
    assert "rgb(252, 255, 164)" in found["inferno"]
    assert "rgb(253, 231, 37)" in found["viridis"]
    image = picture(20, 30).astype(float)
    heat = image[..., :1] / 255
    covered = 0.7 * heat**0.8
    colors = colormap_table("inferno")[np.rint(heat[..., 0] * 255).astype(int)]
    mixed = image * (1 - 0.4 * (1 - heat)) * (1 - covered) + colors * covered
    (saved,) = seen["downloads"].iterdir()
    assert saved.name == "wide.red.Channels.png"
    shown = cv2.imread(str(saved))[..., ::-1]
    # The page interpolates colors between 17 stops, which differ by 7 levels at most.
    np.testing.assert_allclose(shown, (image + mixed) / 2, atol=4)


def test_every_status_is_said_in_words_and_no_map_is_drawn(seen):
    flat, infinite, missing = part(seen, "statuses")
    assert flat["caption"].startswith("The map for flat is the same everywhere")
    assert infinite["caption"].startswith("The map for infinite has values that are not finite")
    assert missing["caption"].startswith("The model has no missing.")
    assert [answer["status"] for answer in (flat, infinite, missing)] == [1, 2, 3]
    assert all(answer["heatHidden"] for answer in (flat, infinite, missing))


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_does_not_fit_is_refused_with_a_sentence(seen, name):
    assert REFUSED[name] in part(seen, "refusals")["messages"][name]


def test_after_a_refusal_the_open_file_is_still_used(seen):
    after = part(seen, "refusals")["after"]
    assert (after["method"], after["status"]) == ("gradcam", 0)


def test_own_files_are_opened_with_the_method_in_their_metadata(seen):
    found = part(seen, "ownFile")
    assert found["dropped"]["method"] == "channels"
    assert found["models"] == ["SqueezeNet", "Tiny", "tiny.onnx", "prepared.onnx"]


def test_a_tensor_is_prepared_as_the_metadata_say(seen):
    """The file undoes the preprocessing, so that its map is the picture's red channel again."""
    chosen = part(seen, "ownFile")["chosen"]
    coffee = cv2.imread(str(ROOT / "models/pictures/coffee.png"))
    red = cv2.resize(coffee, (30, 20), interpolation=cv2.INTER_AREA)[..., 2] / 255
    # Browsers resize with filters of their own.
    assert np.abs(heatmap(chosen) - red).mean() < 0.02


def test_the_part_of_the_picture_that_a_crop_shows_to_the_model(seen):
    """After the resize 256 rows and 384 columns, of which 224 are seen: 350 of the picture."""
    region = {"left": 125, "top": 25, "width": 350, "height": 350}
    assert part(seen, "region") == region


def test_frames_of_the_camera_are_explained_until_pause(seen):
    found = part(seen, "camera")
    assert "pictures a second" in found["live"]["facts"]
    assert found["live"]["size"] == [480, 640]
    assert found["still"] == 0
    assert found["clicked"]["explained"] == found["second"]
    assert found["buttons"] == ["Choose a picture", "Use the camera"]


def test_everything_is_reached_with_the_keyboard(seen):
    found = part(seen, "keyboard")
    for name in ("choose-picture", "camera", "model", "choose-model", "opacity", "save"):
        assert name in found["names"]
    assert found["entered"]["pressed"] == [found["focused"]]


def test_a_phone_shows_everything_in_its_width(seen):
    found = part(seen, "phone")
    shown, screen = found["widths"]
    assert shown <= screen
    assert found["lows"] == []
    assert len(found["tapped"]["pressed"]) == 1


def test_a_run_that_takes_long_is_stopped_and_another_file_runs(seen):
    found = part(seen, "stop")
    assert found["facts"].startswith("Running")
    facts, message = found["stopped"]
    assert facts.startswith("One run")
    assert message == ""
    assert found["after"]["method"] == "Channels"


def test_without_a_gpu_the_cpu_is_used(seen):
    assert part(seen, "fallback") == {"backend": "wasm", "inputs": ["picture", "target"]}


def test_missing_files_of_onnx_runtime_are_said_with_the_command(seen):
    found = seen["bare"]
    assert "The files of ONNX Runtime are not beside this page" in found
    command = found[found.index("npm install") :]
    assert command in (PAGE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_metadata_are_read_as_onnx_reads_them(seen, name):
    proto = onnx.load(seen["files"] / name)
    wanted = {prop.key: prop.value for prop in proto.metadata_props}
    assert wanted
    assert part(seen, "metadata")[name] == wanted
