"""`chargeback export`: the month's CSV, and what it says of time without a price."""

from __future__ import annotations

import csv
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import body, gpu, holding
from tests.programs import chargeback

MONTH = "2026-10"
UNKNOWN = "NVIDIA Unheard-of 1TB"


@pytest.fixture
async def ledger(tmp_path: Path) -> Path:
    """An hour of a priced card, held, and of one that no price names, held too."""
    async with serving(tmp_path, grace="0s") as server:
        cards = [gpu(), gpu("GPU-2", model=UNKNOWN)]
        assert (await server.put(body(gpus=cards, holdings=[holding(), holding("GPU-2", pod="new")]))).status == 200
        await server.close_hours()
        served = await server.get(f"/v1/statements/{MONTH}.csv")
        (tmp_path / "served.csv").write_bytes(served.body)
    return tmp_path


async def test_time_without_a_price_is_named_and_blocks(ledger: Path) -> None:
    """On stderr by model and hours; exit 1, unless it is allowed; the amounts are empty, never zero."""
    ended = chargeback("export", "--data", str(ledger), "--month", MONTH, check=False)
    assert ended.returncode == 1
    assert f"no price for {UNKNOWN}: 1.000000 card hours in {MONTH}" in ended.stderr.decode()
    allowed = chargeback("export", "--data", str(ledger), "--month", MONTH, "--allow-unpriced", check=False)
    assert (allowed.returncode, allowed.stdout) == (0, ended.stdout)
    rows = list(csv.DictReader(io.StringIO(ended.stdout.decode(), newline="")))
    (unpriced,) = [row for row in rows if row["cost_center_id"] == "platform:unpriced"]
    assert (unpriced["kind"], unpriced["namespace"], unpriced["gpu_hours"]) == ("held", "alpha", "1.000000")
    empty = ("unit_price", "list_amount", "discount_amount", "amount")
    assert [unpriced[name] for name in empty] == [""] * 4
    assert {row["cost_center_id"] for row in rows} == {"cc-a", "platform:unpriced"}


async def test_the_month_as_a_group_is_the_column_that_is_there_anyway(ledger: Path) -> None:
    arguments = ("export", "--data", str(ledger), "--month", MONTH, "--allow-unpriced")
    alone = chargeback(*arguments, "--group-by", "team").stdout
    assert chargeback(*arguments, "--group-by", "month,team").stdout == alone


async def test_a_plan_whose_model_nobody_knows_is_named_as_one(ledger: Path) -> None:
    """Two models in the cluster, and no price key: not a model without a name."""
    span = "from: 2026-10-03T10:00:00Z, until: 2026-10-03T11:00:00Z"
    (ledger / "plans.yaml").write_text(f"plans: [{{namespace: alpha, guaranteed: 3, {span}}}]")
    data = ("--data", str(ledger))
    chargeback("plans", "import", str(ledger / "plans.yaml"), "--cluster", "lab", *data)
    chargeback("rerate", "--now", *data)
    said = chargeback("export", *data, "--month", MONTH, check=False).stderr.decode()
    assert f"no price for unused guarantees in {MONTH}" in said
    assert "no price for :" not in said


async def test_the_file_the_pipe_and_http_have_the_same_bytes(ledger: Path) -> None:
    """CRLF, one header, the same each time."""
    written = ledger / "month.csv"
    arguments = ("export", "--data", str(ledger), "--month", MONTH, "--allow-unpriced")
    piped = chargeback(*arguments).stdout
    chargeback(*arguments, "-o", str(written))
    assert written.read_bytes() == piped == (ledger / "served.csv").read_bytes()
    lines = piped.split(b"\r\n")
    assert lines[-1] == b""
    assert not any(b"\n" in line for line in lines)
    assert sum(line.startswith(b"statement_id,") for line in lines) == 1


async def test_a_month_without_lines_is_a_header(ledger: Path) -> None:
    assert chargeback("export", "--data", str(ledger), "--month", "2020-01").stdout.count(b"\r\n") == 1


@pytest.mark.parametrize("month", ["2026-13", "2026", "x"])
async def test_what_is_no_month_is_refused(ledger: Path, month: str) -> None:
    ended = chargeback("export", "--data", str(ledger), "--month", month, check=False)
    assert ended.returncode == 2
    assert "want a month such as 2026-10" in ended.stderr.decode()


async def test_a_folder_without_a_ledger_is_named(tmp_path: Path) -> None:
    ended = chargeback("export", "--data", str(tmp_path), "--month", MONTH, check=False)
    assert ended.returncode == 2
    assert "no ledger.db in it" in ended.stderr.decode()


async def test_a_pipe_stays_a_pipe(ledger: Path) -> None:
    """As /dev/null stays a device, which a program of root's could replace by a file."""
    pipe = ledger / "pipe"
    os.mkfifo(pipe)
    wanted = [*("export", "--data", str(ledger), "--month", MONTH, "--allow-unpriced", "--output-file", str(pipe))]
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        chargeback(*wanted)
        assert read.result(timeout=30) == (ledger / "served.csv").read_bytes()
    assert pipe.is_fifo()
