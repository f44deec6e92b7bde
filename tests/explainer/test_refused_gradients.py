"""A graph with gradients that ONNX Runtime refuses, of a model that it runs."""

import json

import numpy as np
import pytest
from explainer.formulas import AS_IT_IS, model, noise, noise_picture

from onnxplain import Explainer
from onnxplain.cli.app import execute
from onnxplain.errors import BuiltGraphError
from onnxplain.execution import runner
from onnxplain.runtime.session import RefusedError, Session

NET = """g (float[N,3,8,8] x) => (float[N,2] y) { c = Conv<pads=[1,1,1,1]>(x, k) a = Relu(c)
    p = GlobalAveragePool(a) y = Flatten(p) }"""


class Refusing(Session):
    """Opens no graph that holds gradients."""

    def __init__(self, model, *arguments, **named):
        names = (name for node in model.proto.graph.node for name in node.output)
        if any(name.startswith("onnxplain/grad") for name in names):
            raise RefusedError("ONNX Runtime refuses it.", "'onnxplain/grad/1' has no kernel")
        super().__init__(model, *arguments, **named)


@pytest.fixture
def net(monkeypatch):
    monkeypatch.setattr(runner, "Session", Refusing)
    return model(NET, k=noise(2, 3, 3, 3))


def test_it_is_not_called_the_models_fault(net) -> None:
    with pytest.raises(BuiltGraphError, match="runs this model, but refuses the graph") as caught:
        Explainer(net, preprocess=AS_IT_IS).explain(noise_picture(), "gradcam", 0)
    assert "has no kernel. Choose a method without gradients" in str(caught.value)
    assert caught.value.exit_status == 1


def test_auto_goes_on_without_gradients(net) -> None:
    explainer = Explainer(net, preprocess=AS_IT_IS)
    assert explainer.default_method()[0] == "hirescam"
    explanation = explainer.explain(noise_picture(), target=0)
    assert explanation.method == "occlusion"
    assert "refuses" in explainer.default_method()[1]


def test_the_command_line_says_so(net, tmp_path, capfd) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(net.SerializeToString())
    path.with_suffix(".onnxplain.json").write_text(json.dumps({"preprocess": {"size": 8}}))
    sample = tmp_path / "p.npy"
    np.save(sample, noise(1, 3, 8, 8))
    status = execute(["run", str(path), str(sample), "-o", str(tmp_path / "out"), "-f", "npy"])
    said = capfd.readouterr().err
    assert status == 0, said
    assert "Method: occlusion, as ONNX Runtime refuses the graph of the model's gradients" in said
