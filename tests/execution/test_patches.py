"""Patches of tiny models against plain ONNX Runtime, for every rule; and where they step aside."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.analysis.patches import plan as planning
from onnxplain.analysis.patches import rules
from onnxplain.analysis.patches.axes import SAME, Span
from onnxplain.analysis.patches.plan import Plan, plan
from onnxplain.analysis.patches.rules import RULES, Local, NodeFacts
from onnxplain.execution import patch_tiles, patches
from onnxplain.execution.patch_tiles import tiles
from onnxplain.execution.patches import PatchRuns
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import OutOfMemoryError, Session
from onnxplain.transforms.patches import KEEP, patched

MODELS = Path(__file__).parents[2] / "models"

SHAPE = 1, 3, 37, 41
"""Odd sizes, so that strides do not fit; maps are large enough for patches after several layers."""

LARGEST_DIFFERENCE = 1e-6
"""Of the largest value: only the order of sums may differ."""

AROUND = {"K": noise(4, 3, 3, 3), "L": noise(5, 4, 3, 3, seed=1)}


def windows(rank: int = 4, axes: tuple[int, int] = (2, 3), shape: tuple[int, ...] = SHAPE) -> Any:
    """Windows of several sizes: at each corner, at each side, inside, and a single pixel."""
    height, width = shape[axes[0]], shape[axes[1]]
    rows = [(0, 4), (height - 3, height), (12, 17), (13, 14), (0, 1), (20, 26)]
    columns = [(0, 3), (width - 5, width), (9, 14), (width - 1, width), (22, 25)]
    pairs = np.array([(row, column) for row in rows for column in columns])
    return {axis: Span(pairs[:, i, 0], pairs[:, i, 1]) for i, axis in enumerate(axes)}


def in_patches(
    proto: ModelProto,
    shape: tuple[int, ...] = SHAPE,
    axes: tuple[int, int] = (2, 3),
    dtype: Any = np.float32,
    scale: float = 1,
) -> tuple[Plan, Array, Array]:
    """The plan, and the outputs of all windows: in patches, and by plain ONNX Runtime."""
    model = load(proto)
    boxes = windows(len(shape), axes, shape)
    x, filled = ((scale * noise(*shape, seed=seed)).astype(dtype) for seed in (3, 4))
    chosen = plan(model, "x", {"x": shape}, boxes, ["y"])
    written = patched(model, chosen, ["y"])
    runs = PatchRuns(written)
    session = Session(written.of(model), Backend())
    caches, covering = runs.caches(session, x, {}), runs.rows(filled)
    order = np.arange(runs.count)
    found = [
        session.run(runs.feeds(one, caches, covering), ["y"])[0]
        for one in tiles(written, order, 7)  # of windows of different sizes
    ]
    covered = [np.where(one[None], filled, x) for one in runs.filled(order)]
    return chosen, np.concatenate(found), np.concatenate([run(proto, {"x": x})[0] for x in covered])


def check(proto: ModelProto, *patched_ops: str, **options: Any) -> Plan:
    """Patches agree with plain runs, and the nodes of these operators are computed in patches."""
    chosen, found, expected = in_patches(proto, **options)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LARGEST_DIFFERENCE * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 0
    in_plan = {step.node.op_type for step in chosen.steps.values()}
    assert in_plan.issuperset(patched_ops)
    return chosen


def between(
    op: str, channels: int = 4, opset: int = 17, outputs: str = "float[N,C,H,W] y", **constants: Any
) -> ModelProto:
    """A model with `op` from `a` to `b` between two convolutions; `b` has some channels."""
    weights = {**AROUND, "L": noise(5, channels, 3, 3, seed=1), **constants}
    body = f"a = Conv<pads=[1,1,1,1]>(x, K) {op} y = Conv<pads=[1,1,1,1]>(b, L)"
    return tiny(body, "float[N,3,H,W] x", outputs, opset=opset, **weights)


def numbers(values: Any) -> str:
    return "[" + ",".join(str(int(n)) for n in values) + "]"


def random_window(seed: int) -> tuple[Array, str]:
    """The size and the attributes of a window; ONNX Runtime pads pools by less than their size."""
    random = np.random.default_rng(seed)
    kernel, dilations = random.integers(1, 4, 2), random.integers(1, 3, 2)
    pads = random.integers(0, np.tile(kernel, 2))
    strides = random.integers(1, 4, 2)
    return kernel, (
        f"kernel_shape={numbers(kernel)}, dilations={numbers(dilations)}, "
        f"strides={numbers(strides)}, pads={numbers(pads)}"
    )


@pytest.mark.parametrize("seed", range(12))
def test_convolutions_of_any_stride_dilation_padding_and_group(seed: int) -> None:
    kernel, given = random_window(seed)
    group = (1, 2, 4)[seed % 3]
    weights = noise(4, 4 // group, *kernel, seed=seed)
    check(between(f"b = Conv<group={group}, {given}>(a, W)", W=weights), "Conv")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ceil", [0, 1])
def test_max_pools(seed: int, ceil: int) -> None:
    _, given = random_window(seed)
    # All values are negative, so that a zero beyond the border would be seen.
    op = f"n = Abs(a) m = Neg(n) b = MaxPool<ceil_mode={ceil}, {given}>(m)"
    check(between(op), "Neg", *([] if ceil else ["MaxPool"]))


def test_a_pool_whose_last_window_is_cut_off() -> None:
    op = "b = MaxPool<ceil_mode=1, kernel_shape=[3,3], strides=[3,2], pads=[0,1,0,0]>(a)"
    check(between(op), "MaxPool")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("counted", [0, 1])
def test_average_pools(seed: int, counted: int) -> None:
    random = np.random.default_rng(seed)
    kernel, strides = random.integers(1, 4, 2), random.integers(1, 3, 2)
    pads = random.integers(0, np.tile(kernel, 2))
    given = f"kernel_shape={numbers(kernel)}, strides={numbers(strides)}, pads={numbers(pads)}"
    proto = between(f"b = AveragePool<count_include_pad={counted}, {given}>(a)")
    check(proto, *(["AveragePool"] if counted or not pads.any() else []))


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool"])
def test_automatic_padding(auto: str, op: str) -> None:
    given = f'auto_pad="{auto}", strides=[2,3], kernel_shape=[4,3]'
    weights = ", W" if op == "Conv" else ""
    check(between(f"b = {op}<{given}>(a{weights})", W=noise(4, 4, 4, 3)), op)


@pytest.mark.parametrize("seed", range(8))
def test_transposed_convolutions(seed: int) -> None:
    random = np.random.default_rng(seed)
    strides = random.integers(1, 4, 2)
    kernel = strides + random.integers(0, 3, 2)
    pads = random.integers(0, np.tile(kernel, 2))
    group = (1, 2)[seed % 2]
    op = f"b = ConvTranspose<group={group}, strides={numbers(strides)}, pads={numbers(pads)}>(a, W)"
    check(between(op, W=noise(4, 4 // group, *kernel)), "ConvTranspose")


ELEMENTWISE = {
    "Relu": "b = Relu(a)",
    "Clip": "b = Clip(a, ZERO, ONE)",
    "LeakyRelu": "b = LeakyRelu(a)",
    "HardSwish": "b = HardSwish(a)",
    "Sigmoid": "s = Sigmoid(a) b = Mul(a, s)",
    "Mul": "b = Mul(a, a)",
    "Add": "r = Conv<pads=[2,2,2,2]>(a, SIZE5) b = Add(a, r)",
    "Sub": "b = Sub(EACH, a)",
    "PRelu": "b = PRelu(a, EACH)",
    "BatchNormalization": "b = BatchNormalization(a, FOUR, FOUR, FOUR, FOUR)",
    "LRN": "b = LRN<size=3>(a)",
    "Softmax": "b = Softmax<axis=1>(a)",
    "ReduceMean": "m = ReduceMean<axes=[1]>(a) b = Sub(a, m)",
    "Dropout": "b = Dropout(a)",
    "Cast": "d = Cast<to=11>(a) e = Exp(d) b = Cast<to=1>(e)",
    "Where": "c = Greater(a, ZERO) b = Where(c, a, EACH)",
    "Split": "p, q = Split<axis=1>(a) b = Concat<axis=1>(q, p)",
}


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_operators_that_keep_positions(op: str) -> None:
    constants = {
        "ZERO": np.float32(0),
        "ONE": np.float32(1),
        "EACH": noise(4, 1, 1),
        "FOUR": np.abs(noise(4)) + 1,
        "SIZE5": noise(4, 4, 5, 5),
    }
    check(between(ELEMENTWISE[op], **constants), op)


MOVES = {
    "channel shuffle": (
        "Reshape",
        "r = Reshape(a, PARTS) t = Transpose<perm=[0,2,1,3,4]>(r) b = Reshape(t, AGAIN)",
    ),
    "channels last": (
        "LayerNormalization",
        "t = Transpose<perm=[0,2,3,1]>(a) n = LayerNormalization(t, FOUR) m = MatMul(n, SQUARE) "
        "g = Add(m, FOUR) b = Transpose<perm=[0,3,1,2]>(g)",
    ),
    "unsqueezed": ("Unsqueeze", "u = Unsqueeze(a, TWO) e = Exp(u) b = Squeeze(e, TWO)"),
    "padded": ("Pad", "b = Pad(a, PADS, VALUE)"),
    "reflected": ("Pad", 'b = Pad<mode="reflect">(a, PADS)'),
    "repeated": ("Pad", 'b = Pad<mode="edge">(a, PADS)'),
    "every second": ("Slice", "b = Slice(a, START, END, AXES, STEPS)"),
    "reversed": ("Slice", "b = Slice(a, LAST, FIRST, AXES, BACK)"),
    "channels": ("Slice", "c = Slice(a, ONE, THREE, ONE) b = Concat<axis=1>(c, c)"),
    "nearest": (
        "Resize",
        'b = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", '
        'nearest_mode="floor">(a, , SCALES)',
    ),
    "centers": ("Resize", 'b = Resize<mode="nearest">(a, , SCALES)'),
}


@pytest.mark.parametrize("name", MOVES)
def test_operators_that_move_elements(name: str) -> None:
    op, body = MOVES[name]
    constants = {
        "PARTS": np.array([0, 2, 2, 37, 41]),
        "AGAIN": np.array([-1, 4, 37, 41]),
        "FOUR": noise(4),
        "SQUARE": noise(4, 4),
        "ONE": np.array([1]),
        "TWO": np.array([2]),
        "THREE": np.array([3]),
        "PADS": np.array([0, 0, 2, 1, 0, 0, 1, 3]),
        "VALUE": np.float32(7),
        "START": np.array([1, 0]),
        "END": np.array([2**62, 40]),
        "AXES": np.array([2, -1]),
        "STEPS": np.array([2, 3]),
        "LAST": np.array([-1, -1]),
        "FIRST": np.array([-(2**62), -(2**62)]),
        "BACK": np.array([-1, -2]),
        "SCALES": np.array([1, 1, 2, 3], np.float32),
    }
    check(between(body, **constants), op)


def test_branches_of_different_sizes() -> None:
    """As in a residual net and in DenseNet: each branch is fetched at the largest region."""
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, K) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, S) s = Add(c, r) "
        "d = Conv<pads=[1,1,1,1]>(s, S) e = Concat<axis=1>(a, s, d) "
        "f = MaxPool<kernel_shape=[2,2], strides=[2,2]>(e) g = Conv(f, W) y = GlobalAveragePool(g)"
    )
    weights = {"K": noise(4, 3, 3, 3), "S": noise(4, 4, 3, 3), "W": noise(6, 12, 1, 1)}
    proto = tiny(body, "float[N,3,H,W] x", "float[N,C,H,W] y", **weights)
    check(proto, "Add", "Concat", "MaxPool")


def test_the_size_of_a_map_that_is_not_made() -> None:
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, K) b = Conv<pads=[1,1,1,1], strides=[2,2]>(a, L) "
        "s = Shape(a) h = Slice(s, TWO, FOUR) n = Shape<start=0, end=2>(b) "
        "z = Concat<axis=0>(n, h) "
        'r = Resize<mode="linear">(b, , , z) y = GlobalAveragePool(r)'
    )
    constants = {**AROUND, "TWO": np.array([2]), "FOUR": np.array([4])}
    check(tiny(body, "float[N,3,H,W] x", "float[N,C,H,W] y", **constants), "Conv")


def test_an_input_with_channels_last() -> None:
    body = (
        "t = Transpose<perm=[0,3,1,2]>(x) n = Mul(t, EACH) a = Conv<pads=[1,1,1,1]>(n, K) "
        "u = Transpose<perm=[0,2,3,1]>(a) y = Relu(u)"
    )
    proto = tiny(body, "float[N,H,W,3] x", "float[N,H,W,C] y", **AROUND, EACH=noise(3, 1, 1))
    check(proto, "Conv", "Transpose", "Mul", shape=(1, 37, 41, 3), axes=(1, 2))


def test_integers_are_fetched_of_a_quantized_model() -> None:
    body = (
        "q = QuantizeLinear(x, SCALE, ZERO) d = DequantizeLinear(q, SCALE, ZERO) "
        "a = Conv<pads=[1,1,1,1]>(d, K) b = QuantizeLinear(a, SCALE, ZERO) "
        "e = DequantizeLinear(b, SCALE, ZERO) m = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(e) "
        "y = Conv<pads=[1,1,1,1]>(m, L)"
    )
    constants = {**AROUND, "SCALE": np.float32(0.1), "ZERO": np.uint8(90)}
    proto = tiny(body, "float[N,3,H,W] x", "float[N,C,H,W] y", **constants)
    chosen = check(proto, "QuantizeLinear", "DequantizeLinear", "MaxPool")
    assert {fetch.source.dtype for fetch in chosen.fetches} > {np.dtype(np.uint8)}


def test_a_padding_of_dequantized_numbers_has_its_own_value() -> None:
    body = (
        "q = QuantizeLinear(x, SCALE, ZERO) d = DequantizeLinear(q, SCALE, ZERO) "
        "p = Pad(d, PADS, VALUE) a = Conv(p, K) y = Conv(a, L)"
    )
    constants = {**AROUND, "SCALE": np.float32(0.1), "ZERO": np.uint8(90)}
    constants |= {"PADS": np.array([0, 0, 2, 2, 0, 0, 2, 2]), "VALUE": np.float32(3)}
    check(tiny(body, "float[N,3,H,W] x", "float[N,C,H,W] y", **constants), "Pad")


def test_a_whole_map_where_an_operator_reads_all_positions() -> None:
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, K) p = GlobalAveragePool(a) s = Sigmoid(p) m = Mul(a, s) "
        "y = Conv<pads=[1,1,1,1]>(m, L)"
    )
    chosen = check(tiny(body, "float[N,3,H,W] x", "float[N,C,H,W] y", **AROUND), "Conv")
    assert [step.node.op_type for step in chosen.steps.values()] == ["Conv"]


def test_statistics_of_a_batch_are_of_whole_maps() -> None:
    op = "b, m, v = BatchNormalization<training_mode=1>(a, FOUR, FOUR, FOUR, FOUR)"
    proto = between(op, FOUR=np.abs(noise(4)) + 1)
    chosen = plan(load(proto), "x", {"x": SHAPE}, windows(), ["y"])
    assert [step.node.op_type for step in chosen.steps.values()] == ["Conv"]


NET = (
    "a = Conv<pads=[1,1,1,1]>(x, K) r = Relu(a) b = Conv<pads=[1,1,1,1], strides=[2,2]>(r, L) "
    "g = GlobalAveragePool(b) y = Flatten(g)"
)
WEIGHTS = {"K": noise(16, 3, 5, 5), "L": noise(6, 16, 5, 5, seed=1)}


def explained(
    picture: Array, proto: ModelProto | None = None, change: Any = None, **options: Any
) -> tuple[Array, str]:
    """The values of occlusion, and how samples were run."""
    net = proto or tiny(NET, "float[N,3,64,64] x", **WEIGHTS)
    given = {"window": 8, "stride": 4, "fill": "zeros"} | (change or {})
    explainer = Explainer(net, provider="cpu", preprocess=PLAIN, **options)
    found = explainer.explain(picture, "occlusion", "1", **given)
    return found.values, found.provenance.batching


X = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
PLAIN = {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}


def plainly(monkeypatch: pytest.MonkeyPatch, *given: Any, **options: Any) -> tuple[Array, str]:
    with monkeypatch.context() as patch:
        patch.setattr(patches, "perturbed", lambda *_: "")
        return explained(*given, **options)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"threads": 1}])
def test_the_map_is_that_of_plain_runs(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    found, how = explained(X, **options)
    expected, plain = plainly(monkeypatch, X, **options)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert "only what a window changes" in how
    assert f"in batches of {options.get('batch_size', 8)}" in how
    assert "only" not in plain


def test_a_wrong_rule_is_found_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(facts: NodeFacts) -> Local | None:
        found = rules._convolution(facts)
        if found is None or facts.node.input[0] == "x":
            return found
        rows = replace(found.axes[0], before=found.axes[0].before + 1)  # type: ignore[type-var]
        return replace(found, axes=(rows, found.axes[1]))

    expected, _ = plainly(monkeypatch, X)
    monkeypatch.setattr(rules, "RULES", {**RULES, "Conv": wrong})
    found, how = explained(X)
    assert np.array_equal(found, expected)
    assert how.endswith("whole, as patches differed from plain runs")


def test_a_graph_that_does_not_run_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = plainly(monkeypatch, X)
    monkeypatch.setattr(patch_tiles, "_rows", lambda *_: [np.full((1, 2, 2), 10**6, np.int32)])
    found, how = explained(X)
    assert np.array_equal(found, expected)
    assert how.endswith("whole, as patches could not be run")


def test_a_graph_that_is_refused_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = plainly(monkeypatch, X)
    wrong = tiny("y = Add(x, x)", "float[N,5] x", "float[M,7] y")
    monkeypatch.setattr(patches.Patched, "of", lambda _, model: replace(model, proto=wrong))
    found, how = explained(X)
    assert np.array_equal(found, expected)
    assert how.endswith("whole, as patches could not be run")


def test_windows_are_run_whole_after_memory_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = plainly(monkeypatch, X)
    used, runs, sessions = Session.run, [], weakref.WeakSet[Session]()

    def limited(session: Session, feeds: Mapping[str, Any], outputs: Any = None) -> list[Array]:
        if KEEP in feeds:
            runs.append(feeds)
            sessions.add(session)
            if len(runs) > 12:  # the whole sample, the proof, and ten batches of windows
                raise OutOfMemoryError("The device has not enough memory.")
        return used(session, feeds, outputs)

    monkeypatch.setattr(Session, "run", limited)
    found, how = explained(X, threads=1)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    sizes = [len(next(v for n, v in fed.items() if "/index/" in n)) for fed in runs]
    assert sizes == [1, 4, *[8] * 11, 4, 2, 1]
    assert how.endswith("whole, as memory ran out in patches")
    gc.collect()
    assert not sessions  # its memory is free for plain runs


def test_float16() -> None:
    weights = {name: value.astype(np.float16) for name, value in AROUND.items()}
    body = "a = Conv<pads=[1,1,1,1]>(x, K) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, L)"
    proto = tiny(body, "float16[N,3,H,W] x", "float16[N,C,H,W] y", **weights)
    _, found, expected = in_patches(proto, dtype=np.float16, scale=0.1)
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()


def test_another_input_that_is_the_same_at_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    body = NET.replace("r = Relu(a)", "m = Mul(a, z) r = Relu(m)")
    proto = tiny(body, "float[N,3,64,64] x, float[N,16,1,1] z", **WEIGHTS)
    inputs = {"z": noise(1, 16, 1, 1)}
    expected, _ = plainly(monkeypatch, X, proto, inputs=inputs, explain_input="x")
    found, how = explained(X, proto, inputs=inputs, explain_input="x")
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert "only" in how


def test_a_fixed_batch_of_one_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = tiny(NET, "float[1,3,64,64] x", **WEIGHTS)
    expected, _ = plainly(monkeypatch, X, proto)
    found, how = explained(X, proto)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert how.endswith("only what a window changes (the fixed batch of 1 rewritten)")


def test_several_samples_share_what_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    made = planning.plan
    monkeypatch.setattr(patches, "plan", lambda *given: calls.append(1) or made(*given))
    explainer = Explainer(tiny(NET, "float[N,3,64,64] x", **WEIGHTS), provider="cpu")
    x = noise(2, 3, 64, 64)
    together = explainer.attribute(x, "occlusion", [0, 1], window=8, stride=4).values
    assert len(calls) == 1
    for i in range(2):
        alone = Explainer(tiny(NET, "float[N,3,64,64] x", **WEIGHTS), provider="cpu")
        expected = alone.attribute(x[i : i + 1], "occlusion", i, window=8, stride=4).values
        assert np.array_equal(together[i], expected[0])


ASIDE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "few windows": (NET, {"window": 32, "stride": 32}),
    "a global operator from the start": (
        "p = GlobalAveragePool(x) m = Mul(x, p) a = Conv(m, K) g = GlobalAveragePool(a) "
        "y = Flatten(g)",
        {},
    ),
    "no map": ("f = Flatten(x) y = MatMul(f, DENSE)", {}),
}


@pytest.mark.parametrize("name", ASIDE)
def test_where_patches_are_not_used(name: str) -> None:
    body, options = ASIDE[name]
    proto = tiny(body, "float[N,3,64,64] x", **WEIGHTS, DENSE=noise(3 * 64 * 64, 4))
    _, how = explained(X, proto, options)
    assert "only" not in how


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)]
)
def test_shipped_models(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> tuple[Array, str]:
        explainer = Explainer(MODELS / f"{name}.onnx", provider="cpu")
        picture = MODELS / "pictures" / "chelsea.png"
        found = explainer.explain(picture, "occlusion", window=40, stride=28)
        return found.values, found.provenance.batching

    found, how = values()
    monkeypatch.setattr(patches, "perturbed", lambda *_: "")
    expected, _ = values()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert "only" in how


def test_a_map_that_keeps_positions_is_read_as_it_is() -> None:
    """Nothing is fetched for a ReLU or a convolution of single positions."""
    proto = between("r = Relu(a) b = Conv(r, W)", W=noise(4, 4, 1, 1))
    chosen = plan(load(proto), "x", {"x": SHAPE}, windows(), ["y"])
    fetched = [step.node.op_type for step in chosen.steps.values() if step.fetched]
    assert fetched == ["Conv", "Conv"]
    assert all(fetch.maps != (SAME, SAME) for fetch in chosen.fetches[:2])
