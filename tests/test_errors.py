"""Messages are one line of limited length, and what the limits of a machine look like."""

import pickle

import pytest

from onnxplain.errors import LONGEST, ModelError, in_one_line, limit_reached


def test_a_usual_message_stays_as_it_is() -> None:
    message = "The layer 'größe' of 'a b.onnx' – (1, 3) – is none: choose another."
    assert str(ModelError(message)) == message
    assert str(pickle.loads(pickle.dumps(ModelError(message)))) == message


@pytest.mark.parametrize("odd", ["\n", "\r", "\0", "\x1b", "\ud800", "\u202e", "\u2028"])
def test_what_a_terminal_cannot_print_is_escaped(odd: str) -> None:
    said = in_one_line(f"a{odd}b")
    assert said == f"a{odd.encode('unicode_escape').decode()}b"


@pytest.mark.parametrize("name", ["q" * 140_000, "q " * 70_000, "ab, " * 200])
def test_a_long_name_is_cut_in_the_middle(name: str) -> None:
    said = in_one_line(f"There is no layer {name} in the model: choose another.")
    assert len(said) <= LONGEST
    assert said.startswith("There is no layer ")
    assert said.endswith(" choose another.")
    assert "..." in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (ValueError("Failed to serialize proto"), "memory"),
        (ImportError("cv2.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (RuntimeError("pthread_create failed, error code: 11"), "threads"),
        (RuntimeError("No Op registered for Foo"), ""),
    ],
)
def test_which_limit_an_error_of_a_library_means(error: Exception, words: str) -> None:
    said = limit_reached(error)
    assert words in said
    assert bool(said) == bool(words)
