"""Evaluations: statistics, records that are resumed, and what is recommended."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from tiny import noise, tiny

from onnxplain import Explainer
from onnxplain.errors import OptionError
from onnxplain.metrics.evaluation import Evaluation, Measurable, centered_blob
from onnxplain.metrics.records import Record, RecordFile
from onnxplain.metrics.registry import make_metric
from onnxplain.metrics.statistics import bootstrap_interval, holm, sign_test
from onnxplain.metrics.summary import summarized


@pytest.mark.parametrize(("positive", "negative", "zeros"), [(9, 0, 0), (7, 2, 3), (5, 5, 1)])
def test_the_sign_test_is_binomial(positive: int, negative: int, zeros: int) -> None:
    differences = np.array([1.0] * positive + [-2.0] * negative + [0.0] * zeros)
    expected = binomtest(positive, positive + negative).pvalue
    assert sign_test(differences) == pytest.approx(expected)
    assert sign_test(np.zeros(4)) == 1


def test_holms_correction_by_hand() -> None:
    """0.01·3, then 0.02·2, then 0.04·1, none below the one before it."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1, 1]


def test_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    # That of the normal distribution, which 400 values are close to.
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.03)
    assert high == pytest.approx(values.mean() + error, abs=0.03)
    assert bootstrap_interval([2.0]) == (2, 2)


def test_the_blob_is_in_the_middle() -> None:
    blob = centered_blob((5, 7))
    assert np.unravel_index(blob.argmax(), blob.shape) == (2, 3)
    np.testing.assert_allclose(blob, blob[::-1, ::-1])


def record(method: str, metric: str, name: str, value: float | None, passes: int = 1) -> Record:
    cost = {"forward_passes": passes, "backward_passes": 0, "seconds": 0.1}
    about = ("m", name, "c", "top1", "0", method, {}, metric, {}, value)
    return Record(*about, reason="" if value is not None else "no", map_cost=cost)


def records(**values: tuple[int, dict[str, list[float]]]) -> list[Record]:
    return [
        record(method, metric, str(i), value, passes)
        for method, (passes, own) in values.items()
        for metric, given in own.items()
        for i, value in enumerate(given)
    ]


FALLING = list(np.linspace(0.5, 0.4, 12))


def summary(found, methods, metrics=("deletion", "insertion")):
    return summarized(found, methods, ["centered_blob"], [make_metric(name) for name in metrics])


def test_what_cannot_be_told_apart_is_among_the_best_and_the_cheapest_is_recommended() -> None:
    """Twelve inputs: `worse` loses on all, `equal` wins on half of them."""
    shifted = [v + (0.01 if i % 2 else -0.012) for i, v in enumerate(FALLING)]
    found = records(
        good=(100, {"deletion": FALLING, "insertion": FALLING}),
        equal=(2, {"deletion": shifted, "insertion": shifted}),
        worse=(
            1,
            {"deletion": [v + 0.1 for v in FALLING], "insertion": [v - 0.1 for v in FALLING]},
        ),
        centered_blob=(0, {"deletion": [v + 0.05 for v in FALLING], "insertion": FALLING}),
    )
    one = summary(found, ["good", "equal", "worse"])
    assert one.best(make_metric("deletion")) == ["equal", "good"]
    assert one.best(make_metric("insertion")) == ["good", "equal"]
    assert one.recommended == "equal"
    assert one.no_better_than("centered_blob") == ["worse"]
    assert one.p["deletion"]["good", "worse"] == pytest.approx(3 * 2 / 2**12)
    assert json.dumps(one.facts())


def test_few_inputs_tell_nothing_apart_and_numbers_that_describe_do_not_judge() -> None:
    found = records(a=(5, {"deletion": [0, 0, 0]}), b=(1, {"deletion": [1, 1, 1]}))
    assert summary(found, ["a", "b"]).best(make_metric("deletion")) == ["a", "b"]
    found = records(a=(5, {"sparseness": [0.1] * 12}), b=(1, {"sparseness": [0.9] * 12}))
    one = summary(found, ["a", "b"], ["sparseness"])
    assert one.recommended is None
    assert one.judging == []


@pytest.fixture
def job(tmp_path):
    """Three samples in files, and an evaluation of two methods by two metrics."""
    explainer = Explainer(
        tiny("f = Flatten(x)  y = MatMul(f, W)", "float[N,1,4,4] x", W=noise(16, 2)),
        provider="cpu",
    )
    inputs = []
    for i in range(3):
        path = tmp_path / f"{i}.npy"
        np.save(path, noise(1, 1, 4, 4, seed=i))
        inputs.append(Measurable(path, str(path), path))
    methods = [explainer.configured(name, {}) for name in ("gradient", "input_x_gradient")]
    options = {"steps": 4, "perturb_baseline": "zeros"}
    metrics = [
        make_metric("deletion", options),
        make_metric("completeness", {"perturb_baseline": 0.0}),
    ]
    return Evaluation(explainer, methods, metrics, "top1"), inputs


def test_an_evaluation_goes_on_where_it_was_stopped(tmp_path, job) -> None:
    evaluation, inputs = job
    whole = list(evaluation.run(inputs, RecordFile(tmp_path / "whole.jsonl")))
    assert len(whole) == 3 * 4 * 2
    path = tmp_path / "part" / "records.jsonl"
    started = evaluation.run(inputs, file := RecordFile(path))
    for _ in range(9):
        next(started)
    file.close()
    with path.open("ab") as cut:
        cut.write(b'{"model": "half of a li')
    runs = evaluation.explainer.session_runs
    again = list(evaluation.run(inputs, file := RecordFile(path)))
    assert evaluation.explainer.session_runs > runs
    file.close()
    assert [(one.key, one.value) for one in again] == [(one.key, one.value) for one in whole]
    runs, size = evaluation.explainer.session_runs, path.stat().st_size
    file = RecordFile(path)
    for one in evaluation.run(inputs, file):
        # Completeness refuses the gradient and given maps every time, with the same reason.
        assert (one.value is None) == (
            one.metric == "completeness" and one.method != "input_x_gradient"
        )
    file.close()
    assert path.stat().st_size == size
    assert all(json.loads(line)["method"] for line in path.read_text().splitlines())


def test_a_changed_input_is_measured_again(tmp_path, job) -> None:
    evaluation, inputs = job
    file = RecordFile(tmp_path / "records.jsonl")
    before = list(evaluation.run(inputs[:1], file))
    np.save(inputs[0].path, noise(1, 1, 4, 4, seed=9))
    changed = Measurable(inputs[0].path, inputs[0].source, inputs[0].given)
    after = list(evaluation.run([changed], file))
    assert before[0].key != after[0].key
    assert before[0].value != after[0].value


def test_an_input_that_cannot_be_read_gives_reasons_and_the_others_go_on(tmp_path, job) -> None:
    evaluation, inputs = job
    inputs[0].path.write_bytes(b"no array")
    found = list(evaluation.run(inputs, RecordFile(tmp_path / "records.jsonl")))
    assert all(one.value is None and one.reason for one in found if one.input == inputs[0].source)
    assert any(one.value is not None for one in found)


def test_another_file_is_not_taken_for_records(tmp_path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(OptionError, match="line 1, is no record of an evaluation"):
        RecordFile(path)
    assert path.read_text() == '{"a": 1}\n'
