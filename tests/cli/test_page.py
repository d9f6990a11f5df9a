"""The page of the command line has every group, verb and option there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from framework.cli import main

PAGE = (Path(__file__).parent.parent.parent / "docs/reference/cli.md").read_text()


def test_every_verb_is_on_the_page() -> None:
    verbs = {
        f"{group.name} {verb}"
        for group in main.commands.values()
        if isinstance(group, click.Group)
        for verb in group.commands
    }

    assert set(re.findall(r"^\| `(\w+ \w+)` \|", PAGE, re.MULTILINE)) == verbs


def test_every_option_is_on_the_page() -> None:
    options = {
        option
        for group in main.commands.values()
        if isinstance(group, click.Group)
        for verb in group.commands.values()
        for parameter in verb.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }

    assert options <= set(re.findall(r"`(--[\w-]+)`", PAGE))
