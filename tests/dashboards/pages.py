"""The dashboards as they are checked in."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "dashboards/json"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def dashboard(name: str) -> dict[str, Any]:
    """As the file has it; nobody may change it."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found
