"""`GET /v1/lines/{id}/explain`, and costs by label and basis over HTTP."""

from __future__ import annotations

from pathlib import Path

from chargeback.core.explaining.explaining import as_json
from chargeback.explaining.explain import explain
from chargeback.store.ledger import lines_of_month
from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import body, gpu, holding


async def test_an_explanation_is_that_of_the_command(tmp_path: Path) -> None:
    """By the whole id, and by the first digits; 404 for none, 400 for what is no id."""
    async with serving(tmp_path, grace="0s") as server:
        await server.put(body(gpus=[gpu(), gpu("GPU-2")], holdings=[holding()]))
        await server.close_hours()
        with server.database.read() as connection:
            ids = [line.line_id for line in lines_of_month(connection, "2026-10")]
        for line_id in ids:
            wanted = as_json(explain(server.database, line_id))
            for path in (line_id, line_id[:12]):
                answer = await server.get(f"/v1/lines/{path}/explain")
                assert (answer.status, answer.json) == (200, wanted)
        unknown = await server.get(f"/v1/lines/{'0' * 32}/explain")
        assert (unknown.status, unknown.json["field"]) == (404, "id")
        wrong = await server.get("/v1/lines/zz/explain")
        assert (wrong.status, wrong.json["field"]) == (400, "id")


async def test_costs_by_label_and_basis(tmp_path: Path) -> None:
    """A missing label is a group of its own; amounts by allocation and by usage stand beside what is charged."""
    async with serving(tmp_path, grace="0s") as server:
        await server.put(body(gpus=[gpu(), gpu("GPU-2")], holdings=[holding(busy_ms=396_000)]))
        await server.close_hours()
        path = "/v1/costs?from=2026-10-01&until=2026-11-01&group_by=account,label:project&account=cc-a"
        (row,) = (await server.get(path)).json["costs"]
        assert (row["account"], row["label:project"], row["provisional"]) == ("cc-a", "", False)
        assert (row["amount"], row["allocation_amount"], row["usage_amount"]) == ("3.000000", "3.000000", "0.330000")
        refused = await server.get("/v1/costs?from=2026-10-01&until=2026-11-01&group_by=pod")
        assert (refused.status, refused.json["field"]) == (400, "pod")
        (row,) = (await server.get(f"{path}&group_by=kind")).json["costs"]  # as a list is sent by many clients
        assert [row[name] for name in ("account", "label:project", "kind")] == ["cc-a", "", "held"]
        twice = await server.get(f"{path}&until=2026-10-02")
        assert (twice.status, twice.json["field"]) == (400, "until")
