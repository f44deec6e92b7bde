"""Architectures of torchvision with random weights, each a kind of answer, against torch autograd.

torch, the exporter and the architectures were not written for these tests. The samples are noise:
what is compared are numbers, not whether a map is useful.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from tiny import Array, noise

torch = pytest.importorskip("torch")
import tools.peers.torchvision_shim  # noqa: E402, F401  (torchvision needs it)

torchvision = pytest.importorskip("torchvision")
from foreign.exported import (  # noqa: E402
    assert_agrees,
    export,
    gradient,
    measure_normalizations,
    suppress,
)
from torchvision import models as zoo  # noqa: E402

from onnxplain import Explainer  # noqa: E402
from onnxplain.cli.app import execute  # noqa: E402
from onnxplain.errors import TargetError  # noqa: E402
from onnxplain.targets import Box  # noqa: E402

pytestmark = pytest.mark.peers


@dataclass(frozen=True)
class Net:
    """A torch module, and an explainer of its export."""

    module: Any
    explainer: Explainer

    def gradients(self, score: Any, *shape: int, **options: Any) -> tuple[Array, Array]:
        """Of `score(output)` for noise: what onnxplain finds, and what torch finds."""
        x = torch.from_numpy(noise(*shape)).requires_grad_()
        theirs = score(self.module(x))
        ours = self.explainer.attribute(x.detach().numpy(), "gradient", **options)
        assert_allclose(ours.scores, [theirs.item()], rtol=1e-4)
        return ours.values, gradient(theirs, x)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def settings(side: int) -> dict[str, Any]:
    """Pictures of this size in values of 0 to 1."""
    return {"size": side, "fit": "stretch", "scale": 1 / 255, "mean": (0, 0, 0), "std": (1, 1, 1)}


def picture(side: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def as_sample(rgb: Array) -> Any:
    """What the model gets with `settings`."""
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255


def test_an_embedding_is_compared_with_another_picture() -> None:
    """A MobileNetV3 without its classifier: the cosine of two pictures."""
    torch.manual_seed(0)
    module = zoo.mobilenet_v3_small()
    module.classifier = torch.nn.Identity()
    measure_normalizations(module, torch.rand(4, 3, 64, 64))
    explainer = Explainer(export(module, torch.zeros(1, 3, 64, 64)), preprocess=settings(64))
    assert explainer.answer().kind == "embedding"
    one, other = picture(64), picture(64, seed=1)
    with pytest.raises(TargetError, match="is an embedding"):
        explainer.explain(one, "gradient", "top1")

    x = as_sample(one).requires_grad_()
    cosine = torch.nn.functional.cosine_similarity(module(x), module(as_sample(other)))[0]
    found = explainer.explain(one, "gradient", explainer.similarity(other))
    assert found.score == pytest.approx(cosine.item(), rel=1e-4)
    assert_agrees(found.values, gradient(cosine, x)[0])


class Segmenter(torch.nn.Module):  # type: ignore[misc,name-defined]
    """LR-ASPP answers with a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.net = zoo.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=5)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.net(x)["out"]


@pytest.fixture(scope="module")
def segmenter() -> Net:
    torch.manual_seed(0)
    module = Segmenter()
    measure_normalizations(module, torch.randn(4, 3, 64, 64))
    return Net(module, Explainer(export(module, torch.zeros(1, 3, 64, 64))))


def test_a_segmenter_at_a_box(segmenter: Net) -> None:
    """The mean logit of class 2 in 32 x 24 pixels; the answer has the size of the picture."""
    assert segmenter.explainer.answer().kind == "class map"
    ours, theirs = segmenter.gradients(
        lambda y: y[0, 2, 16:40, 8:40].mean(), 1, 3, 64, 64, target="2@box:8,16,32,24"
    )
    assert_agrees(ours, theirs)


def test_a_segmenter_where_it_sees_the_class(segmenter: Net) -> None:
    x = noise(1, 3, 64, 64)
    with torch.no_grad():
        seen = segmenter.module(torch.from_numpy(x))[0].argmax(0)
    index = int(seen.flatten().mode().values)
    region = seen == index
    assert 0 < region.sum() < region.numel()
    ours, theirs = segmenter.gradients(lambda y: y[0, index][region].mean(), *x.shape)
    assert_agrees(ours, theirs)


@pytest.fixture(scope="module")
def clips() -> Net:
    """MC3, which keeps all frames of a clip up to its last layer."""
    torch.manual_seed(0)
    module = zoo.video.mc3_18(num_classes=7)
    measure_normalizations(module, torch.randn(2, 3, 6, 32, 32))
    return Net(module, Explainer(export(module, torch.zeros(1, 3, 6, 32, 32))))


def test_a_clip_at_its_voxels(clips: Net) -> None:
    ours, theirs = clips.gradients(lambda y: y[0, 3], 1, 3, 6, 32, 32, target=3)
    assert_agrees(ours, theirs)


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_a_clip_at_a_layer(clips: Net, layer: str) -> None:
    """Maps of 6 frames, from activation and gradient of torch; layer4 is the default.

    Behind layer4 is a mean over all cells, so the gradient is the same in each.
    """
    x, parts = noise(1, 3, 6, 32, 32), dict(clips.module.named_children())
    names = list(parts)
    at = names.index(layer) + 1
    a = torch.from_numpy(x)
    with torch.no_grad():
        for name in names[:at]:
            a = parts[name](a)
    y = a.requires_grad_()
    for name in names[at:-1]:
        y = parts[name](y)
    g = gradient(parts["fc"](y.flatten(1))[0, 3], a)
    a = a.detach().numpy()
    chosen = {} if layer == "layer4" else {"layer": f"/{layer}/{layer}.1/relu/Relu"}
    gradcam = clips.explainer.attribute(x, "gradcam", 3, relu=False, **chosen).values
    assert gradcam.shape == (1, *a.shape[2:])
    assert_agrees(gradcam, (g.mean((2, 3, 4), keepdims=True) * a).sum(1))
    hirescam = clips.explainer.attribute(x, "hirescam", 3, **chosen).values
    assert_agrees(hirescam, (g * a).sum(1))


class BandsLast(torch.nn.Module):  # type: ignore[misc,name-defined]
    """(N, rows, columns, bands)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.net(x.permute(0, 3, 1, 2))


def test_a_scene_of_six_bands() -> None:
    """A ResNet for satellite pictures, saved with its bands last, and an array in that form."""
    torch.manual_seed(0)
    net = zoo.resnet18(num_classes=5)
    net.conv1 = torch.nn.Conv2d(6, 64, 7, 2, 3, bias=False)
    measure_normalizations(net, torch.randn(4, 6, 64, 64))
    module = BandsLast(net)
    explainer = Explainer(export(module, torch.zeros(1, 64, 64, 6)))
    assert explainer.answer().kind == "classes"
    x = torch.from_numpy(noise(1, 64, 64, 6)).requires_grad_()
    score = module(x)[0, 2]
    scene = x[0].detach().numpy()
    expected = gradient(score, x)[0]
    for given in (scene, np.moveaxis(scene, -1, 0)):
        found = explainer.explain(given, "gradient", 2)
        assert found.score == pytest.approx(score.item(), rel=1e-4)
        assert_agrees(found.values, expected)
    assert explainer.explain(scene, "hirescam", 2).heatmap.shape == (64, 64)


@pytest.fixture(scope="module")
def swin() -> Net:
    """A small Swin transformer, exported for pictures of any size."""
    torch.manual_seed(0)
    module = zoo.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, parameter.mean().item(), 0.1)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    free = {"dynamic_axes": {"image": {0: "n", 2: "rows", 3: "columns"}}}
    return Net(module, Explainer(export(module, torch.zeros(1, 3, 64, 64), **names, **free)))


def test_a_transformer_of_another_size(swin: Net) -> None:
    """Its windows do not fit into 56 x 80 pixels, so it pads and rolls."""
    ours, theirs = swin.gradients(lambda y: y[0, 3], 1, 3, 56, 80, target=3)
    assert_agrees(ours, theirs)


def test_lrp_of_a_transformer(swin: Net) -> None:
    """Relevance is linear in what is distributed, so that of a difference is the difference."""
    x = noise(1, 3, 56, 80)
    one, other, both = (swin.explainer.attribute(x, "lrp", t).values for t in (3, 1, "3-1"))
    assert one.shape == x.shape
    assert_agrees(both, one - other)


class Face(torch.nn.Module):  # type: ignore[misc,name-defined]
    """An age and two classes from the features of one backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = zoo.shufflenet_v2_x0_5()
        self.backbone.fc = torch.nn.Identity()
        self.age = torch.nn.Linear(1024, 1)
        self.gender = torch.nn.Linear(1024, 2)

    def logits(self, x):  # type: ignore[no-untyped-def]
        features = self.backbone(x)
        return self.age(features), self.gender(features)

    def forward(self, x):  # type: ignore[no-untyped-def]
        age, gender = self.logits(x)
        return age, gender.softmax(1)


@pytest.fixture(scope="module")
def face() -> tuple[Face, onnx.ModelProto]:
    torch.manual_seed(0)
    module = Face()
    measure_normalizations(module, torch.rand(4, 3, 64, 64))
    names = {"input_names": ["image"], "output_names": ["age", "gender"]}
    return module, export(module, torch.zeros(1, 3, 64, 64), **names)


def test_two_heads(face: tuple[Face, onnx.ModelProto]) -> None:
    """The first answer is one number, the second one two classes, explained before the softmax."""
    module, model = face
    rgb = picture(64)
    explainer = Explainer(model, preprocess=settings(64))
    x = as_sample(rgb).requires_grad_()
    age, gender = module.logits(x)
    found = explainer.explain(rgb, "gradient")
    assert (found.target.name, found.target.index) == ("output", None)
    assert found.score == pytest.approx(age.item(), rel=1e-4)
    assert_agrees(found.values, gradient(age[0, 0], x)[0])

    with pytest.raises(TargetError, match="output"):
        explainer.explain(rgb, "gradient", 1)
    other = explainer.with_output("gender")
    for index in (0, 1):
        found = other.explain(rgb, "gradient", index)
        assert (found.target.index, found.target.output) == (index, "gender")
        assert found.score == pytest.approx(gender[0, index].item(), rel=1e-4)
        assert_agrees(found.values, gradient(gender[0, index], x)[0])


def test_files_of_two_heads(face: tuple[Face, onnx.ModelProto], tmp_path: Any) -> None:
    module, model = face
    onnx.save(model, tmp_path / "face.onnx")
    x = noise(1, 3, 64, 64)
    np.save(tmp_path / "x.npy", x)
    outputs = "--output", "age", "--output", "gender"
    run = "run", tmp_path / "face.onnx", tmp_path / "x.npy", "-m", "gradient", "-f", "npy"
    assert execute([str(part) for part in (*run, *outputs, "-o", tmp_path)]) == 0
    given = torch.from_numpy(x).requires_grad_()
    age, gender = module.logits(given)
    top = int(gender[0].argmax())
    for name, score in (("age.output", age[0, 0]), (f"gender.{top}", gender[0, top])):
        (path,) = tmp_path.glob(f"x*.gradient.{name}.npy")
        assert_agrees(np.load(path), gradient(score, given)[0])


class Flow(torch.nn.Module):  # type: ignore[misc,name-defined]
    """RAFT with two of its steps; it answers with the flow after each."""

    def __init__(self) -> None:
        super().__init__()
        self.net = zoo.optical_flow.raft_small()

    def forward(self, first, second):  # type: ignore[no-untyped-def]
        return self.net(first, second, num_flow_updates=2)[-1]


def test_the_flow_between_two_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 2 channels as answer, and a second input.

    RAFT detaches the places that it samples. ONNX has no such operator, so what is compared is the
    derivative through everything.
    """
    torch.manual_seed(0)
    module = Flow()
    first, second = torch.randn(2, 1, 3, 128, 128)
    names = {"input_names": ["first", "second"], "output_names": ["flow"]}
    model = export(module, first, second, **names)
    explainer = Explainer(model, explain_input="first", inputs={"second": second.numpy()})
    assert explainer.answer().kind == "picture"
    x = first.clone().requires_grad_()
    with monkeypatch.context() as changed:
        changed.setattr(torch.Tensor, "detach", lambda tensor: tensor)
        flow = module(x, second)
    found = explainer.attribute(first.numpy(), "gradient", "1@box:16,32,24,40")
    score = flow[0, 1, 32:72, 16:40].mean()
    assert_allclose(found.scores, [score.item()], rtol=1e-4)
    assert_agrees(found.values, gradient(score, x))


@pytest.fixture(scope="module")
def detector() -> Iterator[Net]:
    """SSDlite for 128 x 128 pixels, with its decoder and non-maximum suppression."""
    torch.manual_seed(0)
    kept = {"detections_per_img": 20, "topk_candidates": 30}
    module = zoo.detection.ssdlite320_mobilenet_v3_large(
        weights_backbone=None, num_classes=4, **kept
    )
    module.transform.fixed_size = 128, 128
    for parameter in module.head.classification_head.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0, 0.3 / parameter.shape[1] ** 0.5)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(torchvision.ops.boxes, "batched_nms", suppress)
        measure_normalizations(module, list(torch.rand(8, 3, 128, 128)))
        names = {"input_names": ["image"], "output_names": ["boxes", "scores", "labels"]}
        model = export(module, torch.rand(1, 3, 128, 128), **names)
        yield Net(module, Explainer(model, preprocess=settings(128)))


# None of its activations is so near to where a ReLU or hard swish turns that rounding decides.
SCENE = picture(128, seed=5)


def row_of(box: Box, answer: dict[str, Any]) -> int:
    """The row of torch's answer that has this box."""
    same = np.abs(answer["boxes"].detach().numpy() - box.corners).max(1) < 1e-2
    (row,) = np.flatnonzero(same & (answer["labels"].numpy() == box.index))
    return int(row)


def test_boxes_of_a_detector(detector: Net) -> None:
    (answer,) = detector.module(as_sample(SCENE))
    found = detector.explainer.detections(SCENE)
    assert len(found) > 5
    for box in found:
        score = answer["scores"][row_of(box, answer)].item()
        assert box.place.confidence == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("rank", [0, 3])
def test_the_score_of_a_box(detector: Net, rank: int) -> None:
    """Its gradient goes through the suppression and the choice of the best boxes."""
    box = detector.explainer.detections(SCENE)[rank]
    x = as_sample(SCENE).requires_grad_()
    (answer,) = detector.module(x)
    expected = gradient(answer["scores"][row_of(box, answer)], x)[0]
    place = ",".join(str(getattr(box.place, name)) for name in ("x", "y", "width", "height"))
    for target in (box, f"{box.index}@box:{place}"):
        assert_agrees(detector.explainer.explain(SCENE, "gradient", target).values, expected)
