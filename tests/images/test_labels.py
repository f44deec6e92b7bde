import json

import pytest

from onnxplain.errors import PreprocessError, TargetError
from onnxplain.images.labels import Labels, find_labels

# Ambiguous names of ImageNet: 134 and 517 are both "crane", 638 and 639 both "maillot".
IMAGENET = Labels(
    {
        134: "crane",
        281: "tabby, tabby cat",
        282: "tiger_cat",
        285: "Egyptian cat",
        291: "lion, king of beasts, Panthera leo",
        292: "tiger, Panthera tigris",
        517: "crane",
        638: "maillot",
        639: "maillot, tank suit",
    },
    "made up",
)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("281", 281),
        ("7", 7),
        ("TABBY, tabby cat", 281),
        ("tiger cat", 282),
        ("Tiger_Cat", 282),
        ("  egyptian  CAT ", 285),
        ("tabby cat", 281),
        ("tiger", 292),
        ("maillot", 638),
        ("tank", 639),
        ("leo", 291),
    ],
)
def test_find(text, index):
    assert IMAGENET.find(text) == index


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crane", r"'crane' fits 2 classes: 134 \(crane\), 517 \(crane\); give one"),
        ("panthera", r"fits 2 classes: 291 \(lion.*\), 292 \(tiger.*\);"),
        (
            "tigre",
            r"No class is called 'tigre' in the labels \(made up\): close are .*292 \(tiger, P",
        ),
        ("egyptian dog", r"close are 285 \(Egyptian cat\)"),
        ("xylophone", "No class is called 'xylophone'.*: give its index"),
        ("", "No class is called ''"),
        ("-1", "No class is called '-1'"),
    ],
)
def test_texts_that_fit_no_single_class(text, message):
    with pytest.raises(TargetError, match=message):
        IMAGENET.find(text)


def test_long_lists_of_matches_are_cut():
    many = Labels({index: f"terrier {index}" for index in range(100, 125)}, "made up")
    with pytest.raises(
        TargetError, match=r"fits 25 classes: 100 .*109 \(terrier 109\) and 15 more"
    ):
        many.find("terrier")


def test_a_number_that_is_also_another_classs_name_is_ambiguous():
    digits = Labels({0: "1", 1: "0", 2: "2"}, "made up")
    assert digits.find("2") == 2
    with pytest.raises(TargetError, match=r"'1' fits 2 classes: 0 \(1\), 1 \(0\)"):
        digits.find("1")


def test_a_class_without_a_name_is_called_by_its_index():
    assert IMAGENET.name(282) == "tiger_cat"
    assert IMAGENET.name(3) is None
    assert len(IMAGENET) == 9


CAT_DOG = {0: "cat", 1: "dog"}
FILES = {
    "lines.txt": "cat\ndog\n\n",
    "windows.txt": "\ufeffcat\r\ndog\r\n",
    "list.json": '["cat", "dog"]',
    "by_index.json": '{"1": "dog", "0": "cat"}',
    "keras.json": '{"0": ["n02121808", "cat"], "1": ["n02084071", "dog"]}',
    "config.json": '{"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}',
    "timm.json": '{"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat", "n2": "dog"}}',
    "plain_timm.json": '{"label_names": ["cat", "dog"]}',
}


LISTS = ["lines.txt", "windows.txt", "list.json", "timm.json", "plain_timm.json"]


@pytest.mark.parametrize("name", FILES)
def test_label_files(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name].encode())
    labels = find_labels(None, {}, tmp_path / name)
    assert labels.names == CAT_DOG
    assert labels.origin == name
    assert labels.in_order == (name in LISTS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "missing.txt does not exist"),
        ("empty.txt", b"", "neither a list"),
        ("latin.txt", "Kätzchen".encode("latin-1"), "not a UTF-8 text file"),
        ("broken.json", b'["cat",', "broken.json is not valid JSON: .*line 1"),
        ("number.json", b"3", "neither a list"),
        ("inverted.json", b'{"cat": 0}', "neither a list"),
        ("numbers.json", b"[1, 2]", "neither a list"),
    ],
)
def test_label_files_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PreprocessError, match=message):
        find_labels(None, {}, tmp_path / name)


def test_an_empty_list_of_labels_is_refused():
    with pytest.raises(PreprocessError, match="The list of labels is empty"):
        find_labels(None, {}, [])


def test_sources_in_their_order(tmp_path):
    model = tmp_path / "onnx" / "model.onnx"
    model.parent.mkdir()
    sidecar = model.with_name("model.onnxplain.json")
    above, beside = tmp_path / "config.json", model.with_name("config.json")
    ultralytics = {"task": "detect", "names": "{0: 'person', 1: 'bicycle'}"}

    def origin(metadata, override=None):
        found = find_labels(model, metadata, override)
        return found and (found.origin, found.name(1))

    assert origin({}) is None
    assert origin({"names": "cat;dog"}) is None  # another tool's convention

    above.write_text(json.dumps({"id2label": {"0": "a", "1": "above"}}))
    assert origin({}) == ("config.json in the folder above the model", "above")
    beside.write_text(json.dumps({"architecture": "without labels"}))
    assert origin({}) == ("config.json in the folder above the model", "above")
    beside.write_text(json.dumps({"label_names": ["b", "beside"]}))
    assert origin({}) == ("config.json next to the model", "beside")
    assert origin(ultralytics) == ("model metadata", "bicycle")
    sidecar.write_text(json.dumps({"labels": ["s", "sidecar"]}))
    assert origin(ultralytics) == ("sidecar model.onnxplain.json", "sidecar")
    model.with_name("names.txt").write_text("f\nfile")
    sidecar.write_text(json.dumps({"labels": "names.txt"}))
    assert origin(ultralytics) == ("names.txt", "file")
    assert origin(ultralytics, ["o", "override"]) == ("given", "override")


def test_metadata_that_does_not_parse_is_an_error():
    with pytest.raises(PreprocessError, match="metadata has a 'names' that cannot be read"):
        find_labels(None, {"task": "detect", "names": "{0: person"})
