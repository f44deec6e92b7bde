"""Models that several of these tests explain."""

import pytest

from onnxplain import Explainer
from onnxplain.images.preprocess import Preprocess
from tools.cases import nets


@pytest.fixture(scope="package")
def net_r() -> Explainer:
    """Net R with labels a to e, four samples at a time."""
    settings = Preprocess(size=(20, 26), scale=1 / 255, mean=(0.5,), std=(0.2,))
    return Explainer(nets.net_r(), preprocess=settings, labels=list("abcde"), batch_size=4)
