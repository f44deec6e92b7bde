"""Which provider ran each node: ONNX Runtime's own profile, as sums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.profile import NodeTime, Profile, Profiler
from onnxplain.runtime.session import Session

CPU = "CPUExecutionProvider"
MODEL = tiny("a = Exp(x)  y = Neg(a)", "float[N,4] x")


def test_runs_of_each_node() -> None:
    profiler = Profiler()
    kept = Session(load(MODEL), Backend(profiler=profiler))
    for _ in range(3):
        kept.run({"x": noise(2, 4)})
    closed = Session(load(tiny("y = Sin(x)", "float[N,4] x")), Backend(profiler=profiler))
    closed.run({"x": noise(2, 4)})
    del closed
    found = profiler.finish()
    runs = {(node.session, node.operator, node.provider): node.runs for node in found.nodes}
    assert runs == {(1, "Exp", CPU): 3, (1, "Neg", CPU): 3, (2, "Sin", CPU): 1}
    (share,) = found.providers
    assert (share.provider, share.nodes, share.share_of_nodes) == (CPU, 3, 1)
    assert share.share_of_time == pytest.approx(1)
    assert share.milliseconds == pytest.approx(sum(node.milliseconds for node in found.nodes))
    kept.run({"x": noise(2, 4)})  # after the end of its profile


@pytest.mark.parametrize("name", ['a "b"', "a\\xb", "a\nb", "é {}", '","args" : {"provider" : "x"'])
def test_names_of_nodes(name: str) -> None:
    model = tiny("y = Exp(x)", "float[N,4] x")
    model.graph.node[0].name = name
    profiler = Profiler()
    Session(load(model), Backend(profiler=profiler)).run({"x": noise(1, 4)})
    (node,) = profiler.finish().nodes
    assert (node.node, node.operator, node.provider) == (name, "Exp", CPU)


def test_a_file_of_an_older_onnx_runtime(tmp_path: Path) -> None:
    """Version 1.20 writes names as they are."""
    events = [
        '{"cat" : "Session","pid" :1,"tid" :1,"dur" :9,"ts" :2,"ph" : "X","name" :"model_run",'
        '"args" : {}},',
        '{"cat" : "Node","pid" :1,"tid" :1,"dur" :0,"ts" :3,"ph" : "X",'
        '"name" :"a"\nb_fence_before",'
        '"args" : {"op_name" : "Exp"}},',
        '{"cat" : "Node","pid" :1,"tid" :1,"dur" :7000,"ts" :4,"ph" : "X",'
        '"name" :"a"\nb_kernel_time",'
        '"args" : {"thread_scheduling_stats" : {"main_thread": {"core": -1}},"provider" : "A",'
        '"op_name" : "Exp"}},',
        "]",
    ]
    profiler = Profiler()
    (Path(profiler._folder.name) / "1_2026.json").write_text("[\n" + "\n".join(events))
    assert profiler.finish().nodes == (NodeTime(1, 'a"\nb', "Exp", "A", 1, 7.0),)


def test_shares_of_a_provider_that_compiles() -> None:
    """It runs nine nodes of the model as one."""
    nodes = (NodeTime(1, "part", "part", "A", 2, 30.0), NodeTime(1, "y", "Neg", CPU, 2, 10.0))
    a, cpu = Profile(nodes, {CPU: 1, "A": 9}).providers
    assert (a.provider, a.nodes, a.share_of_nodes, a.share_of_time) == ("A", 9, 0.9, 0.75)
    assert (cpu.provider, cpu.nodes, cpu.share_of_nodes, cpu.share_of_time) == (CPU, 1, 0.1, 0.25)
    a, cpu = Profile(nodes, {}).providers  # an older ONNX Runtime does not say what is in it
    assert (a.share_of_nodes, cpu.share_of_nodes) == (0.5, 0.5)
    assert json.dumps(Profile(nodes, {}).to_dict())


def test_nothing_ran() -> None:
    assert Profiler().finish().providers == []


def test_all_sessions_of_an_explainer_are_measured() -> None:
    model = tiny("y = MatMul(x, w)", "float[N,4] x", w=np.eye(4, 3, dtype=np.float32))
    explainer = Explainer(model, provider="cpu", profile=True)
    explainer.attribute(noise(1, 4), "gradient", 1)
    found = explainer.profile()
    assert sum(node.operator in ("MatMul", "Gemm") for node in found.nodes) > 0
    assert len({node.session for node in found.nodes}) <= explainer.session_runs
    assert {node.provider for node in found.nodes} == {CPU}


def test_without_measuring() -> None:
    with pytest.raises(OptionError, match="profile=True"):
        Explainer(MODEL).profile()
