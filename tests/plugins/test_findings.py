"""What a test says is read by whoever runs it."""

from __future__ import annotations

import pytest

from tests.plugins import findings

RUN = """
def test_one(say):
    say("3 of 7 were overtaken")
"""


def test_what_a_test_says_stands_at_the_end_of_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(RUN)

    ran = pytester.runpytest_inprocess("-q", plugins=[findings])

    ran.stdout.fnmatch_lines(["3 of 7 were overtaken"])
