"""What the pages say of the code is so."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name

import attrs
import pytest

import framework
from framework.messages import Consistency
from framework.policies import HEAD_WAIT_SECONDS, HOLD_AT_MOST, POLL_SECONDS, Backoff, Defaults
from framework.reactions import Park
from tests.docs.naming import ROOT, unknown_tests

PROMISES = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)
SETTINGS = re.findall(
    r"^\| `([\w.]+)` \| ([\w,.]+)( s)? \|", (ROOT / "docs/reference/defaults.md").read_text(), re.MULTILINE
)

TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("number", "tests"), PROMISES)
def test_a_promise_names_tests_that_are_run(number: str, tests: str, collected: Collection[str]) -> None:
    assert not unknown_tests(tests, collected), f"promise {number}"


def test_the_promises_are_numbered() -> None:
    assert [int(number) for number, _ in PROMISES] == list(range(1, len(PROMISES) + 1))


@pytest.mark.parametrize(("name", "value", "is_duration"), SETTINGS)
def test_a_default_is_what_the_page_says(name: str, value: str, is_duration: str) -> None:
    setting: object = Defaults()
    for part in name.split("."):
        setting = getattr(setting, part)

    if isinstance(setting, Consistency):
        assert setting.value == value
    elif isinstance(setting, Park):
        assert value == "park"
    else:
        number = float(value.replace(",", ""))
        assert setting == (timedelta(seconds=number) if is_duration else number)


def test_every_default_is_on_the_page() -> None:
    on_the_page = {name.split(".")[0] for name, _, _ in SETTINGS}

    assert on_the_page == {field.name for field in attrs.fields(Defaults)}


def test_a_handler_is_tried_over_about_five_minutes() -> None:
    policy = Backoff()
    longest = sum(
        min(policy.first.total_seconds() * policy.factor**n, policy.longest.total_seconds())
        for n in range(policy.attempts - 1)
    )

    assert 4 * 60 < longest * 3 / 4 < 6 * 60, "on average the jitter takes a quarter off"


def test_the_log_is_looked_at_every_second() -> None:
    assert POLL_SECONDS == 1


def test_every_target_of_make_is_on_the_page_and_is_no_file() -> None:
    page = (ROOT / "docs/how-to/work-on-it.md").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert re.findall(r"^\| `make ([a-z-]+)` \|", page, re.MULTILINE) == phony.split()
    assert set(phony.split()) == TARGETS


def test_every_public_name_is_on_the_page() -> None:
    page = (ROOT / "docs/reference/api/framework.md").read_text()

    assert sorted(re.findall(r"^\.\. auto\w+:: (?:\w+\.)*(\w+)$", page, re.MULTILINE)) == sorted(framework.__all__)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/reference/api").glob("*.md")), ids=lambda page: page.stem)
def test_what_the_reference_takes_from_the_code_is_there(page: Path) -> None:
    module = ""
    for directive, name in re.findall(r"^\.\. ([\w:]+):: ([\w.]+)$", page.read_text(), re.MULTILINE):
        if directive == "py:currentmodule":
            module = f"{name}:"
        else:
            resolve_name(name if "." in name else module + name)


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())

    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_head_is_held_and_waited_for_five_seconds() -> None:
    assert timedelta(seconds=5) == HOLD_AT_MOST
    assert HEAD_WAIT_SECONDS == 5
