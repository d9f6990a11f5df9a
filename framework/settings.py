"""What a program finds in its environment; a library takes values, and looks there for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import attrs

from framework.errors import ConfigurationError, InvalidSetting
from framework.store.postgres.schema import check_name

DSN: Final = "FRAMEWORK_DSN"
SCHEMA: Final = "FRAMEWORK_SCHEMA"


@attrs.frozen
class Settings:
    """Where a program finds its event store; None leaves it to the program."""

    dsn: str | None = None
    """The database, of `FRAMEWORK_DSN`."""
    schema: str | None = None
    """Where in it the store is, of `FRAMEWORK_SCHEMA`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return what *environment*, `os.environ` mostly, says; what is empty there says nothing.

        Raises `InvalidSetting`, which names the variable, for what cannot be meant.
        """
        dsn, schema = environment.get(DSN) or None, environment.get(SCHEMA) or None
        if dsn is not None and not dsn.startswith(("postgresql://", "postgres://")):
            # Not the value, in which there may be a password.
            raise InvalidSetting(DSN, "it is not of the form postgresql://user:password@host:port/database")
        if schema is not None:
            try:
                check_name(schema)
            except ConfigurationError as error:
                raise InvalidSetting(SCHEMA, str(error)) from error
        return cls(dsn, schema)
