"""OpenCV runs an exported file of a method with one pass."""

import cv2
import numpy as np
import pytest

from .conftest import COFFEE

pytestmark = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 lacks operators of the file"
)


def check(exported, x, targets):
    expected = exported.run(targets, data=x)
    network = cv2.dnn.readNetFromONNX(str(exported.path))
    network.setInput(x, "data")
    if targets is not None:
        network.setInput(np.array(targets), "target")
    found = dict(zip(expected, network.forward(list(expected)), strict=True))
    for name, values in expected.items():
        tolerance = 1e-5 * max(1, np.abs(values).max())
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("targets", [[-1], [504], [1000], [-1, 504]])
def test_opencv_gives_the_numbers_of_onnx_runtime(plain, targets):
    x, _ = plain.prepared(COFFEE)
    check(plain, np.repeat(x, len(targets), axis=0), targets)


def test_opencv_reads_a_file_with_one_target(cats):
    x, _ = cats.prepared(COFFEE)
    check(cats, x, None)
