"""The layers of a detector before its heads."""

import numpy as np
from tiny import noise, tiny

from onnxplain.analysis.layers import grid_layers
from onnxplain.analysis.neck import neck_layers
from onnxplain.model.load import load
from onnxplain.model.shapes import model_shapes

HEADS = {
    # One convolution for all numbers of a box, as in YOLOv5.
    "joint": "h3 = Conv(p3, w) h4 = Conv(p4, w)",
    # A branch for boxes and one for classes, as in YOLOv8, with attention to channels in one.
    "apart": """b3 = Conv(p3, w) r3 = Relu(b3) c3 = Conv(p3, w) a3 = GlobalAveragePool(c3)
        m3 = Mul(c3, a3) d3 = Conv(m3, w) e3 = Conv(r3, w) h3 = Concat<axis=1>(e3, d3)
        b4 = Conv(p4, w) c4 = Conv(p4, w) h4 = Concat<axis=1>(b4, c4)""",
    # The mean of a distribution, as a product with one column: no weights of a decoder.
    "mean": """b3 = Conv(p3, w) r3 = Reshape(b3, bins) t3 = Transpose<perm=[0,3,1,2]>(r3)
        h3 = MatMul(t3, column) b4 = Conv(p4, w) r4 = Reshape(b4, bins)
        t4 = Transpose<perm=[0,3,1,2]>(r4) h4 = MatMul(t4, column)""",
    # Cells become tokens of a decoder, as in D-FINE.
    "queries": """r3 = Reshape(p3, rows) t3 = Transpose<perm=[0,2,1]>(r3)
        r4 = Reshape(p4, rows) t4 = Transpose<perm=[0,2,1]>(r4)
        tokens = Concat<axis=1>(t3, t4) h3 = MatMul(tokens, mix) h4 = Relu(h3)""",
}


def necks(heads: str) -> list[tuple[str, tuple[int, ...]]]:
    """A backbone of two grids, a pyramid that leads down and up again, and heads."""
    model = load(
        tiny(
            f"""s = Conv<strides=[2,2]>(x, first) fine = Relu(s)
            coarse = Conv<strides=[2,2]>(fine, second)
            u = Resize<mode="nearest">(coarse, , scales) sum3 = Add(fine, u) p3 = Conv(sum3, w)
            d = Conv<strides=[2,2]>(p3, second) sum4 = Add(d, coarse) p4 = Relu(sum4)
            {HEADS[heads]}
            f3 = Flatten(h3) f4 = Flatten(h4) y = Concat<axis=1>(f3, f4)""",
            "float[1,3,16,16] x",
            "float[1,C] y",
            first=noise(4, 3, 2, 2),
            second=noise(4, 4, 2, 2),
            w=noise(4, 4, 1, 1),
            rows=np.array([0, 4, -1]),
            bins=np.array([0, 2, 2, -1]),
            column=noise(2, 1),
            mix=noise(4, 4),
            scales=np.array([1, 1, 2, 2], np.float32),
        )
    )
    shape = (1, 3, 16, 16)
    layers = grid_layers(model, model_shapes(model, {"x": shape}), "x", "y")
    return [(layer.tensor, layer.grid) for layer in neck_layers(model, layers, "x", "y", shape)]


def test_the_last_layer_of_each_grid_that_all_heads_read() -> None:
    for heads in HEADS:
        assert necks(heads) == [("p3", (8, 8)), ("p4", (4, 4))], heads


def test_a_layer_that_heads_cut_regions_out_of() -> None:
    """As in Faster R-CNN: no weights of a grid follow, only those of the regions."""
    model = load(
        tiny(
            """a = Conv(x, first) p3 = Relu(a)
            r = RoiAlign<output_height=1, output_width=1>(p3, regions, which)
            f = Flatten(r) y = ReduceMax<keepdims=0>(f)""",
            "float[1,3,16,16] x",
            "float y",
            first=noise(4, 3, 1, 1),
            regions=np.array([[0, 0, 8, 8], [4, 4, 12, 12]], np.float32),
            which=np.array([0, 0]),
        )
    )
    shape = (1, 3, 16, 16)
    layers = grid_layers(model, model_shapes(model, {"x": shape}), "x", "y")
    found = neck_layers(model, layers, "x", "y", shape)
    assert [layer.tensor for layer in found] == ["p3"]


def test_numbers_of_boxes_are_no_grid() -> None:
    """Four rows of as many columns as boxes look like a grid that is much wider than high."""
    model = load(
        tiny(
            """s = Conv<strides=[2,2]>(x, first) p3 = Relu(s) h = Conv(p3, w)
            b = Reshape(h, rows) m = Conv(b, mean) y = Flatten(m)""",
            "float[1,3,16,16] x",
            "float[1,C] y",
            first=noise(4, 3, 2, 2),
            w=noise(16, 4, 1, 1),
            rows=np.array([1, 4, 4, 64]),
            mean=noise(1, 4, 1, 1),
        )
    )
    shape = (1, 3, 16, 16)
    layers = grid_layers(model, model_shapes(model, {"x": shape}), "x", "y")
    found = neck_layers(model, layers, "x", "y", shape)
    assert [layer.tensor for layer in found] == ["p3"]
