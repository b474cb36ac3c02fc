"""Write the dashboard's JSON beside this file: `python -m dashboards.build`. The same source gives the same bytes."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.chargeback import dashboard

TARGET = Path(__file__).with_name("chargeback.json")


def built() -> str:
    """The text of the file: keys sorted, so that a diff shows what changed and nothing else."""
    return json.dumps(dashboard(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(built(), encoding="utf-8")
