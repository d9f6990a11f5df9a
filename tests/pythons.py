"""The fast tests on every other Python that is installed, all at once, and one line that says which those were.

Each has an environment of its own, made by the Makefile as the main one is. Where a test fails, the run is shown.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

ROOT = Path(__file__).parent.parent
SUPPORTED: Final = ("3.11", "3.12", "3.13")
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


@attrs.frozen
class Ran:
    """What became of the tests on one Python."""

    version: str
    passed: bool
    said: str
    seconds: float


def find_python(version: str) -> Path | None:
    """Return a program that says it is Python *version*, or nothing where there is none.

    It has to be asked: what is on the PATH may be a shim of pyenv's that only says that it was not told to be this one.
    """
    for candidate in _candidates(version):
        say = "import sys; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([candidate, "-c", say], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    yield from sorted(PYENV.glob(f"versions/{version}.*/bin/python"))


async def run(version: str, python: Path) -> Ran:
    began = time.monotonic()
    # The make that started this is not to tell the one that is started here what to do.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    process = await asyncio.create_subprocess_exec(
        *("make", "-s", f"VENV=.venv-{version}", f"PYTHON={python}", "test-fast"),
        cwd=ROOT,
        env=environment,
        stdout=PIPE,
        stderr=STDOUT,
    )
    said, _ = await process.communicate()
    return Ran(version, process.returncode == 0, said.decode(), time.monotonic() - began)


async def main() -> bool:
    """Run them, say so, and return whether all passed."""
    others = [version for version in SUPPORTED if version != "{}.{}".format(*sys.version_info)]
    found = {version: python for version in others if (python := find_python(version))}
    results = await asyncio.gather(*(run(version, python) for version, python in found.items()))
    for result in results:
        if not result.passed:
            print(f"Python {result.version} said:\n{result.said}")
    said = [f"{each.version} {'passed' if each.passed else 'FAILED'} in {each.seconds:.0f} s" for each in results]
    said += [f"{version} is not installed" for version in others if version not in found]
    print(f"the fast tests on other Pythons: {', '.join(said)}")
    return all(result.passed for result in results)


if __name__ == "__main__":
    sys.exit(not asyncio.run(main()))
