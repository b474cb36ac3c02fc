"""From simulated cards to the month's CSV, through both real programs; every amount worked out by hand here."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.programs import PAST_DAY, PAST_MONTH, chargeback, exporter, running

SCENARIO = f"""
seed: lab
gpus:
  - {{count: 1, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}}
  - {{count: 1, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}}
  - {{count: 1, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}}
  - {{count: 1, model: NVIDIA A100-SXM4-80GB, memory_mib: 81920, mig: [3g.40gb, 1g.10gb, 1g.10gb]}}
  - {{count: 1, model: NVIDIA L40S, memory_mib: 46068, shares: 4}}
workloads:
  - {{namespace: alpha, pod: train, on: 0}}
  - {{namespace: gamma, pod: tune, resource: nvidia.com/mig-3g.40gb}}
  - namespace: gamma
    pod: brief-{{run}}
    resource: nvidia.com/mig-1g.10gb
    schedule: {{every: 24h, start: 39580s, length: 37s}}   # 10:59:40 to 11:00:17
  - {{namespace: gamma, pod: "note-{{n}}", count: 2, on: 4}}
events:
  - {{at: {PAST_DAY}T10:20:00Z, until: {PAST_DAY}T10:50:00Z, gpu: 2, lost: true}}
"""

PRICES = """
currency: USD
prices:
  - {model: NVIDIA H100 80GB HBM3, price: "3", unit: gpu-hour}
  - {model: NVIDIA A100-SXM4-80GB, price: "2.1", unit: gpu-hour}
  - {model: NVIDIA L40S, price: "1.000001", unit: gpu-hour}
tiers:
  - {tier: best-effort, factor: "0.5"}
"""

NAMESPACES = """
kind: List
items:
  - kind: Namespace
    metadata: {name: alpha, creationTimestamp: "2026-01-01T00:00:00Z", labels: {cost-center: cc-a, team: red}}
  - kind: Namespace
    metadata:
      name: gamma
      creationTimestamp: "2026-01-01T00:00:00Z"
      labels: {cost-center: cc-g, team: blue, gpu-tier: best-effort}
"""

# At 10:30 somebody gives alpha to another cost center.
RELABELLED = NAMESPACES.replace(
    'metadata: {name: alpha, creationTimestamp: "2026-01-01T00:00:00Z", labels: {cost-center: cc-a, team: red}}',
    f"""metadata:
      name: alpha
      creationTimestamp: "2026-01-01T00:00:00Z"
      labels: {{cost-center: cc-b, team: red}}
      managedFields:
        - {{time: "{PAST_DAY}T10:30:00Z", fieldsV1: {{"f:metadata": {{"f:labels": {{"f:cost-center": {{}}}}}}}}}}""",
)

H100, A100, L40S = "gpu.h100-80gb-hbm3", "gpu.a100-sxm4-80gb", "gpu.l40s"
Row = tuple[str, str, str, str]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "node.yaml").write_text(SCENARIO)
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "namespaces.yaml").write_text(NAMESPACES)
    return tmp_path


def serve_arguments(work: Path) -> list[str]:
    return [
        *("serve", "--data", str(work), "--cluster", "lab", "--grace", "0s"),
        *("--owners", str(work / "namespaces.yaml"), "--prices", str(work / "prices.yaml")),
    ]


def replay(work: Path, url: str, span: str) -> None:
    exporter(
        *("--cluster", "lab", "--node", "n1", "--simulate", str(work / "node.yaml"), "--beat", "1s"),
        *("--replay", span, "--push", url),
    )


def month(work: Path) -> dict[Row, tuple[str, str, str]]:
    """(account, namespace, kind, sku) → card hours, list amount, amount, of the exported CSV."""
    chargeback("rerate", "--now", "--data", str(work))
    text = chargeback("export", "--data", str(work), "--month", PAST_MONTH).stdout.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    found = {
        (row["cost_center_id"], row["namespace"], row["kind"], row["sku"]): (
            row["gpu_hours"],
            row["list_amount"],
            row["amount"],
        )
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def micros(text: str) -> int:
    return int(text.replace(".", ""))


def test_a_gpu_second_becomes_a_line_of_the_month(work: Path) -> None:
    """Two hours, an hour in which no agent spoke, and one more: every amount of the CSV, by hand."""
    with running("chargeback.cli.main", *serve_arguments(work), log=work / "serve.log") as server:
        replay(work, server.url, f"{PAST_DAY}T10Z..{PAST_DAY}T12Z")
        before = month(work)
        replay(work, server.url, f"{PAST_DAY}T13Z..{PAST_DAY}T14Z")
    (work / "namespaces.yaml").write_text(RELABELLED)
    with running("chargeback.cli.main", *serve_arguments(work), log=work / "serve.log") as server:
        found = month(work)
        assert server.get(f"/v1/statements/{PAST_MONTH}.csv") == (
            chargeback("export", "--data", str(work), "--month", PAST_MONTH).stdout
        )

    # Whole card: hours 10, 11 and 13 at 3.00. cc-a has it until 10:30, then cc-b.
    assert before["cc-a", "alpha", "held", H100] == ("2.000000", "6.000000", "6.000000")
    assert found["cc-a", "alpha", "held", H100] == ("0.500000", "1.500000", "1.500000")
    assert found["cc-b", "alpha", "held", H100] == ("2.500000", "7.500000", "7.500000")

    # 3g of seven: 3/7 of 2.10 is 0.90 an hour, three hours; best-effort pays half, the rest is discount.
    assert found["cc-g", "gamma", "held", f"{A100}.mig-3g.40gb"] == ("1.285714", "2.700000", "1.350000")
    # 1g: 0.30 an hour. 10:59:40 to 11:00:17 on one slot is two lines:
    # ⌊0.30⌋ − ⌊0.30 × 3580/3600⌋ = 0.300000 − 0.298333 = 0.001667 and ⌊0.30 × 17/3600⌋ = 0.001416, together 0.003083;
    # at half the price 0.150000 − 0.149166 = 0.000834 and 0.000708, together 0.001542. 37 s / 7 = 0.001468 h.
    assert found["cc-g", "gamma", "held", f"{A100}.mig-1g.10gb"] == ("0.001468", "0.003083", "0.001542")
    # A quarter of 1.000001 is 0.25000025: 0.250000 a share and hour; two of four shares, three hours.
    assert found["cc-g", "gamma", "held", L40S] == ("1.500000", "1.500000", "0.750000")
    for sku, micros_off in ((f"{A100}.mig-3g.40gb", 1_350_000), (f"{A100}.mig-1g.10gb", 1_541), (L40S, 750_000)):
        hours, listed, amount = found["platform:discount", "gamma", "discount", sku]
        assert (hours, listed, micros(amount)) == ("0.000000", "0.000000", micros_off)

    # The idle card for three hours; the one that was lost from 10:20 to 10:50 is idle for 2.5.
    assert found["platform:idle", "", "free", H100] == ("5.500000", "16.500000", "16.500000")
    assert found["platform:unavailable", "", "unhealthy", H100] == ("0.500000", "1.500000", "1.500000")
    # Two 1g slices for three hours are 6/7 h, less 37 s / 7. What the brief pod's lines leave: 1.800000 − 0.003083.
    assert found["platform:idle", "", "free", f"{A100}.mig-1g.10gb"] == ("0.855675", "1.796917", "1.796917")
    # 2/7 of the card are in no instance; two shares of four are unsold and carry the odd micro of each hour.
    assert found["platform:idle", "", "unpartitioned", A100] == ("0.857143", "1.800000", "1.800000")
    assert found["platform:idle", "", "unsold", L40S] == ("1.500000", "1.500003", "1.500003")

    # Hour 12: nobody spoke, the cards exist all the same; and so for 72 hours after 14:00, their last observation.
    assert found["platform:gap", "", "gap", H100] == ("219.000000", "657.000000", "657.000000")
    assert found["platform:gap", "", "gap", A100] == ("73.000000", "153.300000", "153.300000")
    assert found["platform:gap", "", "gap", L40S] == ("73.000000", "73.000073", "73.000073")
    assert len(found) == 16

    # Law 1: 3 + 1 + 72 hours of 3 × 3.00 + 2.10 + 1.000001, on both sides.
    assert sum(micros(listed) for _, listed, _ in found.values()) == 76 * 12_100_001
    assert sum(micros(amount) for _, _, amount in found.values()) == 76 * 12_100_001


def test_no_stranger_pays_for_a_relabelled_namespace(work: Path) -> None:
    """Law 9: giving alpha to another cost center moves nobody else's line by a micro."""
    with running("chargeback.cli.main", *serve_arguments(work), log=work / "serve.log") as server:
        replay(work, server.url, f"{PAST_DAY}T10Z..{PAST_DAY}T12Z")
        before = month(work)
    (work / "namespaces.yaml").write_text(RELABELLED)
    with running("chargeback.cli.main", *serve_arguments(work), log=work / "serve.log"):
        after = month(work)
    strangers = {key: row for key, row in before.items() if key[1] != "alpha"}
    assert strangers == {key: row for key, row in after.items() if key[1] != "alpha"}
    assert {key[0] for key in after if key[1] == "alpha"} == {"cc-a", "cc-b"}
