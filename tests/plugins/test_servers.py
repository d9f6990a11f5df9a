"""What a run says of the servers it ran on is what they say of themselves."""

from __future__ import annotations

import re

import pytest

from tests.plugins import servers
from tests.plugins.servers import MET, Meet

RUN = """
from tests.plugins.servers import MET

def test_one(pytestconfig):
    pytestconfig.stash[MET].update({(180004, "18.4"), (150018, "15.18")})
"""


def test_a_run_says_which_servers_it_met(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(RUN)

    ran = pytester.runpytest_inprocess(plugins=[servers])

    ran.stdout.fnmatch_lines(["ran on PostgreSQL 15.18 and 18.4"])


async def test_the_server_of_the_tests_is_met_as_what_it_is(pytestconfig: pytest.Config, meet: Meet, dsn: str) -> None:
    met = pytestconfig.stash[MET]
    known = set(met)
    met.clear()

    await meet(dsn)

    assert len(met) == 1
    assert met <= known, "the fixture that started it has met it"
    assert all(re.fullmatch(rf"{number // 10_000}\.{number % 10_000}", name) for number, name in met)
    met |= known
