"""Targets of requests: as on the command line, but none that reads a file of the server."""

import pytest

from onnxplain.serve.refusals import RefusedError
from onnxplain.serve.targets import target

FORMS = [
    *("top1", "0", "tiger cat", "p>0.5", "expected", "281-282", "281-0.6*282", "not:282"),
    *("tabby - tiger cat", "15@all", "15@3,4", "15@box:-1,2,30,40", "@ 3, 4", "15 @ predicted"),
    *("person - dog@all", "15@1,2@box:0,0,9,9", "15@all,16@1,2", "person#2", "person#any"),
    *("char:3", "step:4,17", "element:3,10,10", "text", "person@3,4 - dog", ""),
]
FILES = [
    *("similar:x.png", 'similar:"a text"', "not:similar:x", "not: similar : x", "Similar:x"),
    *("similar\t:x", "1,similar:x", "similar:x - 0.5*similar:y"),
    *("15@mask.png", "@mask", "15@1", "15@1,2.png", "15@1,2@m", "15@all.png", "15@box:1,2,3,4.png"),
    *("15@ /etc/passwd", "15@1,2,16@m", "15@box:1,2,3", "a@b", "15@predicted.png", "@", "1@@all"),
]


@pytest.mark.parametrize("given", [*FORMS, 0, -1, 2**31])
def test_a_target_is_passed_on_as_it_is(given):
    assert target(given) == given


@pytest.mark.parametrize("given", FILES)
def test_a_target_that_may_read_a_file_is_refused(given):
    with pytest.raises(RefusedError, match=r"may read a file|After @"):
        target(given)


@pytest.mark.parametrize("given", FILES)
def test_no_file_is_looked_for(client, given, monkeypatch):
    """Also by the code after the check."""
    from serve.conftest import EXPLAIN, picture

    answer = client.post(EXPLAIN, {"instances": [{**picture("coffee.png"), "target": given}]})
    assert answer.status == 400
    assert "no such file" not in answer.sentence
