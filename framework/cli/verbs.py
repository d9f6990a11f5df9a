"""What the verbs of all groups have in common: which store they are for, how they answer, and how they fail."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import asyncpg
import attrs
import click

from framework.connections import describe
from framework.errors import FrameworkError, InvalidSetting
from framework.settings import DSN, SCHEMA, Settings

FOUND: Final = 1
FAILED: Final = 2
"""What click exits with where it was used wrongly, too."""

T = TypeVar("T")


class Failure(click.ClickException):
    """Ends the program with its sentence on stderr."""

    exit_code = FAILED


@attrs.frozen
class Target:
    """The store that a verb is for, and how it is to answer."""

    dsn: str
    schema: str
    as_json: bool

    def say(self, document: dict[str, Any], *lines: str) -> None:
        """Print *document* where JSON is asked for, else *lines*."""
        click.echo(json.dumps(document, default=str) if self.as_json else "\n".join(lines))


def target(verb: Callable[..., None]) -> Callable[..., None]:
    """Give *verb* the options that say which store it is for, as its first argument."""

    def run(dsn: str | None, schema: str | None, as_json: bool, **options: Any) -> None:
        try:
            settings = Settings.from_environment(os.environ)
        except InvalidSetting as error:
            raise Failure(str(error)) from error
        where = dsn or settings.dsn
        if where is None:
            raise click.UsageError(f"Missing option '--dsn': give it, or set {DSN}")
        verb(Target(where, schema or settings.schema or "framework", as_json), **options)

    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    run.__dict__.update(verb.__dict__)
    dsn = click.option("--dsn", help=f"The database; that of {DSN} in the environment unless given.")
    schema = click.option("--schema", help=f"Where in it the store is; as {SCHEMA} says, or else in 'framework'.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    return dsn(schema(as_json(run)))


def done(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* comes to; where it fails, end the program with the error as a sentence."""
    try:
        return asyncio.run(work)
    except FrameworkError as error:
        raise Failure(str(error)) from error
    except asyncpg.PostgresError as error:
        raise Failure(f"the database refused: {describe(error)}") from error


def agreed(question: str) -> bool:
    """Say whether whoever runs the program answers *question* with a yes."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # nobody is there to answer
        return False
