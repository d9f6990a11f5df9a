"""Whoever installs today what the constraints name gets what was tested, on the oldest Python that is supported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parent.parent
OURS: Final = canonicalize_name("aggregate-framework")

PINNED: Final = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
}
OLDEST: Final = "3.11.0"


def needed(name: NormalizedName, extra: str, seen: set[tuple[NormalizedName, str]]) -> Iterator[NormalizedName]:
    """Yield what the distribution called *name* needs on this machine for *extra*, and what that needs in turn."""
    if (name, extra) in seen:
        return
    seen.add((name, extra))
    yield name
    for requirement in map(Requirement, distribution(name).requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for each in {"", *requirement.extras}:
                yield from needed(canonicalize_name(requirement.name), each, seen)


NEEDED: Final = sorted({*needed(OURS, "dev", set())} - {OURS})


@pytest.mark.parametrize("name", NEEDED)
def test_all_that_is_needed_is_pinned_and_installed_as_pinned(name: NormalizedName) -> None:
    assert distribution(name).version == PINNED.get(name)


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_pinned_takes_the_first_release_of_the_oldest_python(name: NormalizedName) -> None:
    required = Requirement(f"{name}{distribution(name).metadata.json.get('requires_python', '')}")

    assert OLDEST in required.specifier
