"""A PostgreSQL of one's own: initialised, started, shared, and stopped by whoever leaves last.

Every user of a data folder holds a shared lock on a file in it, which the kernel takes back even from a process that is
killed. A second lock, the turn, is held while one starts or stops the server. Who leaves, has the turn, and can change
the shared lock to an exclusive one was the last, and stops the server. A user that is killed may leave the server
running: the next one finds it, and counts right.

Whether a server runs is asked of the server, never of a process id: that may be another program's by now, or that of a
dead process nobody has reaped. PostgreSQL itself would refuse to start because of such an id, see `_remains`.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from framework.errors import DataFolderUnusable, EmbeddedServerError
from framework.observe import log
from framework.postgres_programs import Programs, find_programs, may_enter, open_to_all

if sys.platform != "win32":
    import fcntl

ROOT_DATA: Final = Path("/var/lib/aggregate-framework")
"""Where the data of a server run by root lie, when it may not enter the folder asked for."""

SILENCE_S: Final = 15.0
"""How long a server may not answer at all; after a SIGKILL its children hold its memory for about a second."""
PATIENCE_S: Final = 600
"""How long a server may take to recover, and to write down what it has in memory before it stops."""

PORT: Final = "5432"
LONGEST_SOCKET_PATH: Final = 103
"""In bytes, on macOS; Linux takes 107."""
ANSWER_S: Final = 5
"""How long one question whether the server is ready may take."""
ACCEPTING, SILENT = 0, 2  # what pg_isready exits with; with 1, a server is starting or stopping
SHARED_MEMORY: Final = slice(6, 7)
"""The line of postmaster.pid that names it."""
WHAT_HAPPENED: Final = re.compile(r"\b(?:PANIC|FATAL|ERROR|LOG):  ")
"""In the lines of the server's log that are not details, hints or statements of the one above."""

T = TypeVar("T")


@asynccontextmanager
async def database(data_folder: Path, *, given: str | None, durable: bool = True) -> AsyncGenerator[str, None]:
    """Yield the *given* DSN, or else, where there is none, that of a `server` on *data_folder*."""
    if given is not None:
        yield given
    else:
        async with server(data_folder, durable=durable) as dsn:
            yield dsn


@asynccontextmanager
async def server(data_folder: Path, *, durable: bool = True) -> AsyncGenerator[str, None]:
    """Run a PostgreSQL on *data_folder* and yield its DSN; share it with whoever else uses the folder, in any process.

    The folder is made if need be, and must be empty or an earlier one. The server listens on a Unix socket only, which
    none but its user can reach, and trusts whoever does. Run by root it is user nobody's; where nobody may not go, the
    data lie in `ROOT_DATA` and *data_folder* is made a link to them. Unless *durable*, a power cut may cost everything,
    for tests; who starts the server decides that for all who share it.

    Raises `NoPostgresBinaries`, `DataFolderUnusable`, or `EmbeddedServerError` with the server's last words. A
    cancellation waits until a start or stop under way has come to its end, and the user is counted no more then.
    """
    mine = _Use(data_folder, durable=durable)
    try:
        yield await _to_its_end(mine.begin)
    finally:
        await _to_its_end(mine.end)


async def _to_its_end(function: Callable[[], T]) -> T:
    """Run *function* in a thread; raise a cancellation that comes meanwhile when it has ended."""
    work = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, function)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from work.exception()
    return work.result()


class _Use:
    """One use of the server of a folder; it blocks, so it is for threads."""

    def __init__(self, data_folder: Path, *, durable: bool) -> None:
        self._data_folder = data_folder
        self._durable = durable
        self._counted: int | None = None

    def begin(self) -> str:
        """Be counted, start the server unless it runs, and return its DSN; on an error, be counted no more."""
        self._programs = find_programs()
        try:
            self._home = _home(self._data_folder, self._programs)
            self._socket = _socket_folder(self._home, self._programs)
            with self._turn():
                counted = _opened(self._home / "users.lock")
                try:
                    fcntl.flock(counted, fcntl.LOCK_SH)
                    self._initialise()
                    self._start()
                except BaseException:
                    os.close(counted)
                    raise
                self._counted = counted
        except OSError as error:
            message = f"the PostgreSQL in {self._data_folder} cannot be run: {error}"
            raise EmbeddedServerError(message) from error
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket), safe='')}&port={PORT}"

    def end(self) -> None:
        """Be counted no more, and stop the server if nobody else is counted."""
        counted, self._counted = self._counted, None
        if counted is None:
            return
        try:
            with self._turn(), suppress(BlockingIOError):
                fcntl.flock(counted, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._stop()
        except OSError as error:
            message = f"the PostgreSQL in {self._home} cannot be stopped: {error}"
            raise EmbeddedServerError(message) from error
        finally:
            os.close(counted)

    @contextmanager
    def _turn(self) -> Generator[None, None, None]:
        turn = _opened(self._home / "turn.lock")
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turn)

    def _initialise(self) -> None:
        """Make the databases if there are none, whole or not at all, and see that they are for our programs."""
        cluster, draft = self._home / "postgres", self._home / "postgres.new"
        if not cluster.exists():
            shutil.rmtree(draft, ignore_errors=True)  # of an initdb that was killed
            locale = "C" if sys.platform == "darwin" else "C.UTF-8"
            options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", f"--locale={locale}"]
            if not self._durable:
                options.append("--no-sync")
            made = self._programs.run("initdb", "-D", draft.name, *options, cwd=self._home)
            if made.returncode != 0:
                message = f"no database could be made in {self._home}: {made.stderr.strip()}"
                raise EmbeddedServerError(message)
            draft.rename(cluster)
            _sync(self._home)  # or a power cut could undo the renaming, and all data would be a draft to remove
        found = (cluster / "PG_VERSION").read_text().strip()
        if found != self._programs.major:
            message = (
                f"{self._home} holds data of PostgreSQL {found}, but {self._programs.folder} holds PostgreSQL"
                f" {self._programs.major}: name the programs of {found} in FRAMEWORK_PG_BIN, or move the folder away"
            )
            raise DataFolderUnusable(message)

    def _start(self) -> None:
        """Return when the server takes connections, in whatever state it was."""
        began = answered = time.monotonic()
        launched = False
        while (state := self._state()) != ACCEPTING:
            now = time.monotonic()
            if state != SILENT:
                answered = now
            elif now - answered < SILENCE_S:
                self._launch()
                launched = True
            if now - answered >= SILENCE_S or now - began >= PATIENCE_S:
                words = self._home / "server.log"
                message = (
                    f"the PostgreSQL in {self._home} does not start; its last words in {words}: {_last_line(words)}"
                )
                raise EmbeddedServerError(message)
            time.sleep(0.1)  # there is nothing to wait for: it has to be asked
        log.info("embedded_server_started" if launched else "embedded_server_joined", folder=str(self._home))

    def _launch(self) -> None:
        """Start the server, which may fail; where one is starting or running, another ends at once and does no harm."""
        settings = ["listen_addresses=", "unix_socket_permissions=0700"]
        if not self._durable:
            settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        self._programs.run(
            *("/bin/sh", "-c", '"$@" >>server.log 2>&1 </dev/null &', "sh"),
            *(str(self._programs.folder / "postgres"), "-D", "postgres", "-k", str(self._socket), "-p", PORT),
            *(f"--{setting}" for setting in settings),
            cwd=self._home,
            **self._remains(),
        )

    def _remains(self) -> dict[str, str]:
        """Return what tells PostgreSQL not to take the process named in its lock file for a server.

        It would not start while any process has that number: some program after a reboot, or the dead server itself
        where nobody reaps it. The shared memory that the file names is better evidence of a server, or of a child of
        one, and PostgreSQL looks at it even so. Hence nothing is told while the file names none.
        """
        try:
            lines = (self._home / "postgres" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {"PG_GRANDPARENT_PID": lines[0].strip()} if any(map(str.strip, lines[SHARED_MEMORY])) else {}

    def _stop(self) -> None:
        if self._state() == SILENT:
            return
        how = ("stop", "-D", "postgres", "-m", "fast", "-w", "-t", str(PATIENCE_S))
        done = self._programs.run("pg_ctl", *how, cwd=self._home)
        if done.returncode != 0:
            message = f"the PostgreSQL in {self._home} does not stop: {done.stderr.strip()}"
            raise EmbeddedServerError(message)
        if self._socket != self._home:
            shutil.rmtree(self._socket, ignore_errors=True)
        log.info("embedded_server_stopped", folder=str(self._home))

    def _state(self) -> int:
        where = ("-h", str(self._socket), "-p", PORT, "-U", "postgres", "-d", "postgres")
        return self._programs.run("pg_isready", "-q", "-t", str(ANSWER_S), *where, cwd=self._home).returncode


def _home(data_folder: Path, programs: Programs) -> Path:
    """Make the data folder the server's, and return where it really lies."""
    home = data_folder.resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    if programs.account and not may_enter(home.parent, programs.account):
        home = _elsewhere(home)
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid not in {programs.user_id, os.geteuid()}:
        message = f"{home} belongs to another user: run as that user, or name another folder"
        raise DataFolderUnusable(message)
    entries = {each.name for each in home.iterdir()}
    if entries and "turn.lock" not in entries:
        message = f"{home} holds other files: name a folder that is empty or not there yet"
        raise DataFolderUnusable(message)
    if programs.account:
        os.chown(home, programs.account.pw_uid, programs.account.pw_gid)
    home.chmod(0o700)
    return home


def _elsewhere(folder: Path) -> Path:
    """Make *folder* a link to a new place that the server may enter, and return that place."""
    place = open_to_all(ROOT_DATA) / f"{folder.name.lstrip('.')}-{secrets.token_hex(4)}"
    place.mkdir(mode=0o700)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.rmdir()
        folder.symlink_to(place)
    except FileExistsError:  # another process was quicker
        place.rmdir()
        return folder.resolve()
    except OSError as error:
        place.rmdir()
        message = f"{folder} is not empty, and lies where the server's user nobody may not go: name another folder"
        raise DataFolderUnusable(message) from error
    log.warning("embedded_data_elsewhere", folder=str(folder), place=str(place))
    return place


def _socket_folder(home: Path, programs: Programs) -> Path:
    """Return *home*, or a folder of a short and plain name where the path of a socket in *home* would not do."""
    short_enough = len(os.fsencode(home / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH
    if short_enough and re.fullmatch(
        r"[\w/.+-]+", str(home), re.ASCII
    ):  # in lists of hosts and folders, commas separate
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    folder = Path(f"/tmp/framework-{digest}")  # noqa: S108  not $TMPDIR: all who share the server must come to the same
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if programs.account:
            os.chown(folder, programs.account.pw_uid, programs.account.pw_gid)
    found = folder.lstat()
    if (found.st_mode, found.st_uid) != (0o040700, programs.user_id):
        message = f"{folder} is where the socket for {home} should be, but is not its user's alone: remove it"
        raise DataFolderUnusable(message)
    return folder


def _opened(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_line(file: Path) -> str:
    """Return the last line that says what happened, and not what could be done about it; of another form, the last."""
    lines = file.read_text(errors="replace").split("\n") if file.exists() else []
    said = [line for line in lines if line.strip()]
    return next(filter(WHAT_HAPPENED.search, reversed(said)), said[-1] if said else "none")
