"""Answers commands that were answered before: as the first time, whatever has become of their aggregate since."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from framework.errors import CommandIdReused
from framework.journal import Journal
from framework.messages import DispatchResult
from framework.refusals import decode_refusal
from framework.runtime.requests import Request
from framework.runtime.states import States
from framework.store.protocol import Receipt


class Repeats:
    """What receipts are kept for."""

    def __init__(self, journal: Journal, states: States) -> None:
        self._journal = journal
        self._states = states

    async def answer(self, requests: Sequence[Request], ids: Collection[UUID]) -> list[Request]:
        """Answer those of *requests* that have a receipt under one of *ids*, and return the others."""
        receipts = await self._journal.receipts(ids)
        others: list[Request] = []
        for request in requests:
            receipt = receipts.get(request.command_id)
            if receipt is None or request.digest is None:
                others.append(request)
            elif receipt.digest != request.digest:
                request.settle(CommandIdReused(request.command_id))
            elif receipt.refusal is not None:
                request.settle(decode_refusal(receipt.refusal))
            else:
                request.settle(await self.result(request, receipt))
        return others

    async def result(self, request: Request, receipt: Receipt) -> DispatchResult:
        """Return the result that *receipt* is kept of."""
        registration, stream = request.route.registration, receipt.stream
        # One event further back, for the position of a command that led to none.
        after = max(receipt.first_version - 2, 0)
        last = receipt.first_version + receipt.event_count - 1
        stored = await self._journal.read_stream(stream, after=after, until=last, limit=receipt.event_count + 1)
        events = list(self._journal.events(each for each in stored if each.version >= receipt.first_version))
        state = registration.initial
        if request.order.returning is not None:
            state = (await self._states.load(stream, registration, until=last)).state
        return request.result(stream, last, stored[-1].position if stored else 0, events, state)
