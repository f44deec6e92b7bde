import os
from dataclasses import replace

import pytest

from onnxplain.file_names import safe_name
from onnxplain.results.formats.stem import file_stem
from onnxplain.results.names import unique_names
from onnxplain.targets.described import ExplainedTarget, target_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", "chelsea"),
        ("my cat, 2.0", "my_cat_2.0"),
        ("虎猫 größe", "虎猫_größe"),
        ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
        ("tab\there\nline\x00nul\x7f", "tab_here_line_nul_"),
        ("right\u202eleft", "right_left"),
        ("not utf-8 \udcff", "not_utf-8__"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        (".hidden", "_hidden"),
        ("  spaced  ", "spaced"),
        ("con", "_con"),
        ("LPT1.v2", "_LPT1.v2"),
        ("console", "console"),
        ("", "_"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_safe_name(name, expected):
    assert safe_name(name) == expected


def test_a_long_name_is_cut_between_characters():
    cut = safe_name("é" * 200, max_bytes=31)
    assert cut == "é" * 15


@pytest.mark.parametrize(
    ("index", "label", "expected"),
    [
        (282, "tiger cat", "282_tiger_cat"),
        (2, "great white shark, white shark, Carcharodon carcharias", "2_great_white_shark"),
        (5, None, "5"),
        (5, "", "5"),
        (9, "jack-o'-lantern", "9_jack-o_-lantern"),
        (1, "a/b\\c:d", "1_a_b_c_d"),
        (3, "虎猫", "3_虎猫"),
    ],
)
def test_target_name(index, label, expected):
    assert target_name(index, label) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["cat", "cat", "cat"], ["cat", "cat-2", "cat-3"]),
        (["cat", "Cat"], ["cat", "Cat-2"]),
        (["cat", "cat-2", "cat"], ["cat", "cat-2", "cat-3"]),
        (["cat", "cat", "cat-2"], ["cat", "cat-2", "cat-2-2"]),
        (["a?", "a*"], ["a_", "a_-2"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9", "caf\u00e9-2"]),
    ],
)
def test_unique_names(names, expected):
    assert unique_names(names) == expected


def test_long_names_stay_different_when_they_are_cut():
    names = unique_names(["n" * 130 + "1", "n" * 130 + "2", "é" * 70, "é" * 71])
    assert len({safe_name(name) for name in names}) == 4


def test_the_longest_stem_still_makes_a_valid_file(explanation, tmp_path):
    longest = replace(explanation, method="m" * 300, target=ExplainedTarget("虎" * 300))
    name = file_stem(longest, "é" * 300) + ".heatmap16.png"
    (tmp_path / name).touch()
    assert len(os.fsencode(name)) <= 255


def test_a_stem_names_picture_method_and_target(explanation):
    assert file_stem(explanation) == "chelsea.scorecam.282_tiger_cat"
    assert file_stem(explanation, "chelsea-2") == "chelsea-2.scorecam.282_tiger_cat"


def test_a_picture_given_as_an_array_is_called_picture(explanation):
    assert file_stem(replace(explanation, picture_path=None)) == "picture.scorecam.282_tiger_cat"
