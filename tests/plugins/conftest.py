from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_plugins_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the runs within these tests the second it takes to load everything that is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
