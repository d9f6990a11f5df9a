"""Applications that verbs are about: found by name, built, and not opened."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from framework.application import Application
from framework.cli.verbs import Failure


def application(name: str) -> Application:
    """Return the application called *name*, `module:attribute`; it may be a function that builds it.

    The module is looked for from the current folder on, as by `python -m`. Raises what its own code raises.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise Failure(f"{name!r} names no application: write module:name, as in sample_bank.app:application")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # it is there, and lacks something itself
        raise Failure(f"there is no module {module_name!r}, looked for from {here} on") from error
    found = getattr(module, attribute, None)
    if callable(found):
        found = found()
    if not isinstance(found, Application):
        raise Failure(f"{module_name} has no application called {attribute!r}: it is {found!r}")
    return found
