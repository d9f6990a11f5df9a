"""What the workers of a run have found out reaches the run that started them, which alone speaks to whoever reads."""

from __future__ import annotations

from typing import Any, Protocol

import pytest


class Worker(Protocol):
    """A worker of pytest-xdist, as the run sees it that started it."""

    config: pytest.Config
    """That of the run, not of the worker."""


def hand_over(config: pytest.Config, name: str, found: Any) -> None:
    """Have *found*, of lists, numbers and text, come out of `handed_over`; do nothing where there is no worker."""
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output[name] = found


def handed_over(worker: Worker, name: str, nothing: Any) -> Any:
    """Return what *worker* found, or *nothing* where it has crashed, which is reported as it is."""
    return getattr(worker, "workeroutput", {}).get(name, nothing)
