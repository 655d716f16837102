"""The reference values that lie beside the shared data."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="session")
def oracles(shared_data):
    """Oracle id -> value."""
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())["oracles"]
    entries = content.values() if isinstance(content, dict) else content
    return {entry["id"]: entry["value"] for entry in entries if "value" in entry}
