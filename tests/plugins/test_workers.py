"""What is found out in workers is said once, by the run that started them."""

from __future__ import annotations

import pytest

from tests.plugins.collected import ROOT

ONE = """
import pytest
from tests.plugins.servers import MET

def test_one(say, pytestconfig):
    say("3 of 7 were overtaken")
    pytestconfig.stash[MET].add((180004, "18.4"))

@pytest.mark.external("away")
def test_of_what_is_absent(): assert False
"""

OTHER = """
from tests.plugins.servers import MET

def test_other(say, pytestconfig):
    say("no transfer was lost")
    pytestconfig.stash[MET].update({(180004, "18.4"), (150018, "15.18")})
"""

AWAY = """
from pathlib import Path
from tests.plugins import external

external.PROGRAMS = {"away": external.Program("away", Path("nowhere"), "install away somehow")}
"""

SAID = (
    "3 of 7 were overtaken",
    "no transfer was lost",
    "ran on PostgreSQL 15.18 and 18.4",
    "away is not installed: 1 test was left out (install away somehow)",
)

PLUGINS = ("xdist.plugin", "tests.plugins.external", "tests.plugins.findings", "tests.plugins.servers")


def test_what_workers_have_found_out_is_said_once(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(test_one=ONE, test_other=OTHER)
    pytester.makeconftest(AWAY)

    ran = pytester.runpytest_subprocess(
        *(f"-p{plugin}" for plugin in PLUGINS), "--numprocesses=2", "--dist=loadfile", "-pno:cacheprovider"
    )

    ran.assert_outcomes(passed=2)
    assert {line: ran.outlines.count(line) for line in SAID} == dict.fromkeys(SAID, 1)
