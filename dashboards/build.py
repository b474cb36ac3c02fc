"""Write the dashboards' JSON: `python -m dashboards.build`. The same source gives the same bytes."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import chargeback, fleet, namespace, quotas, service
from dashboards.page import Page

FOLDER = Path(__file__).with_name("json")

# By the name of the file.
PAGES: dict[str, Page] = {
    "chargeback": chargeback.PAGE,
    "fleet": fleet.PAGE,
    "namespace": namespace.PAGE,
    "quotas": quotas.PAGE,
    "service": service.PAGE,
}


def built(page: Page) -> str:
    """The text of a file: keys sorted, so that a diff shows what changed and nothing else."""
    return json.dumps(page.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path_of(name).write_text(built(page), encoding="utf-8")
