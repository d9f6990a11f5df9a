"""An audit of commands: each is written down before it is decided, and what became of it afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, get_args, get_type_hints

import attrs
import msgspec

from framework.codec import Codec
from framework.errors import AuditFailed, CommandRejected, ConfigurationError, OutcomeUnknown
from framework.messages import DispatchResult
from framework.middleware import CommandContext, Next
from framework.observe import AUDIT_OUTCOME_LOST, log
from framework.store.protocol import AuditedCommand, AuditedOutcome, CommandAudit

HIDDEN: Final = "[hidden]"
"""What stands in the audit where something is not to be read."""


class AuditLog:
    """A middleware that keeps an audit of every command in the store's database.

    A command is written down, durably, before it goes on: what cannot be written down is not decided, and raises
    `AuditFailed`. The outcome is added afterwards. If that fails it is logged, and the caller gets its answer all the
    same, since the answer is true; an entry without an outcome says that the log has to be asked, where events bear
    the command's id as their causation.
    """

    def __init__(
        self,
        store: CommandAudit,
        *,
        hide: Mapping[type, Collection[str]] | None = None,
        hide_metadata: Collection[str] = (),
        keep_for: timedelta = timedelta.max,
        codec: Codec | None = None,
    ) -> None:
        """Keep the audit in *store*, which the application opens.

        *hide* names, for a command class, the fields that must not be read in the audit, those of a value within it
        with a dot between: `{Register: {"password", "card.number"}}`. The message of an error that such a command comes
        to is left out as well, because it may quote them. *hide_metadata* names keys of the metadata. An open
        application forgets entries, whatever became of them, once they are older than *keep_for*; unless given, none.
        *codec* is the application's, if it was given one. Raises `ConfigurationError` for a field that its class does
        not have, and for a time that would keep nothing.
        """
        if keep_for <= timedelta(0):
            raise ConfigurationError(
                f"an audit with keep_for={keep_for!r} would keep nothing: give more, or leave it out"
            )
        self.keep_for = keep_for
        self._store = store
        self._codec = codec or Codec()
        self._hidden = {cls: [_path(cls, name) for name in names] for cls, names in (hide or {}).items()}
        self._hidden_keys = frozenset(hide_metadata)

    async def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult:
        """Write the command down, let it be decided, and add what became of it."""
        try:
            number = await self._store.open_audit(self._written(context))
        except Exception as error:
            raise AuditFailed(type(context.command), error) from error
        try:
            result = await call_next(context)
        except Exception as error:
            await self._close(number, self._failure(context, error))
            raise
        await self._close(number, AuditedOutcome("accepted", result.stream, result.version))
        return result

    async def forget(self, before: datetime) -> int:
        """Forget the entries of commands that were asked for before that moment, and say how many."""
        return await self._store.prune_audit(before)

    def _written(self, context: CommandContext) -> AuditedCommand:
        command = type(context.command)
        data = self._codec.encode(context.command)
        if paths := self._hidden.get(command):
            document = msgspec.json.decode(data)
            for path in paths:
                _hide(document, path)
            data = msgspec.json.encode(document)
        metadata = {key: HIDDEN if key in self._hidden_keys else value for key, value in context.metadata.items()}
        return AuditedCommand(
            command_id=context.command_id,
            correlation_id=context.correlation_id,
            causation_id=context.causation_id,
            type=command.__name__,
            data=data,
            metadata=self._codec.encode_metadata(metadata),
        )

    def _failure(self, context: CommandContext, error: Exception) -> AuditedOutcome:
        match error:
            case CommandRejected():
                outcome = "refused"
            case OutcomeUnknown():
                outcome = "unknown"
            case _:
                outcome = "failed"
        # Without what PostgreSQL's text does not take: the outcome must not be lost to an odd message.
        reason = str(error).replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        return AuditedOutcome(
            outcome, error=type(error).__name__, reason=None if type(context.command) in self._hidden else reason
        )

    async def _close(self, number: int, outcome: AuditedOutcome) -> None:
        try:
            await self._store.close_audit(number, outcome)
        except Exception as error:  # noqa: BLE001 - what the caller is told is true, whether or not it is written down
            log.error(AUDIT_OUTCOME_LOST, number=number, outcome=outcome.outcome, error=repr(error))


def _path(command: type[Any], name: str) -> Sequence[str]:
    """Return the parts of *name*; raises `ConfigurationError` if they do not lead to a field of *command*."""
    classes: Collection[type[Any]] = [command]
    for part in (path := name.split(".")):
        fields = [get_type_hints(cls)[part] for cls in classes if part in attrs.fields_dict(cls)]
        if not fields:
            # A misspelling would lay open what was to be hidden.
            raise ConfigurationError(
                f"the audit is to hide {name!r} of {command.__name__}, which has no field {part!r}"
            )
        classes = [cls for field in fields for cls in _classes_in(field)]
    return path


def _classes_in(declared: Any) -> Iterator[type[Any]]:
    """Yield the attrs classes that values of *declared* may hold."""
    if attrs.has(declared):
        yield declared
    for each in get_args(declared):
        yield from _classes_in(each)


def _hide(document: Any, path: Sequence[str]) -> None:
    """Put `HIDDEN` in the place that *path* leads to, in every element of the lists on the way."""
    first, *rest = path
    if isinstance(document, list):
        for each in document:  # pyright: ignore[reportUnknownVariableType]
            _hide(each, path)
    elif isinstance(document, dict) and first in document:
        if rest:
            _hide(document[first], rest)
        else:
            document[first] = HIDDEN
