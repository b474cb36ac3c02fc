"""`gpu-exporter` on a command line: what it needs, what it says, how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter import wire
from tests.programs import exporter, running


def test_without_nvml_it_says_what_is_missing() -> None:
    """And what to do; exit 2."""
    ended = exporter("--node", "n1", check=False)
    said = ended.stderr.decode()
    assert ended.returncode == 2
    assert "libnvidia-ml.so.1" in said
    assert "--simulate" in said


def test_it_simulates_on_any_machine(tmp_path: Path) -> None:
    """Whole cards, MIG and shares of the default scenario are on the page."""
    with running("exporter.cli", "--simulate", "--beat", "1s", log=tmp_path / "log") as agent:
        page = agent.get("/metrics").decode()
        assert 'mig_profile="3g.40gb"' in page
        assert page.count("gpu_info{") >= 4
        assert agent.get("/healthz") == b"ok\n"
        assert b"/metrics" in agent.get("/")


def test_every_problem_of_the_settings_is_reported_at_once() -> None:
    """Each with where it came from, what was seen and what is wanted; exit 2."""
    ended = exporter(
        *("--beat", "0s", "--listen", "nowhere", "--push", "ftp://x"), env={"GPU_EXPORTER_NOISE": "1"}, check=False
    )
    said = ended.stderr.decode()
    assert ended.returncode == 2
    for part in ("--beat", "--listen", "nowhere", "--push", "ftp://x", "GPU_EXPORTER_NOISE"):
        assert part in said


def test_a_scenario_with_faults_names_them(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("gpus: [{count: none}]\n")
    ended = exporter("--simulate", str(tmp_path / "node.yaml"), check=False)
    assert ended.returncode == 2
    assert "gpus[0].count" in ended.stderr.decode()


async def replayed(status: int) -> tuple[int, list[wire.NodeHour]]:
    """Exit code of a replay of two hours, and the bodies that came."""
    bodies: list[wire.NodeHour] = []

    async def take(request: web.Request) -> web.Response:
        data = await request.read()
        bodies.append(wire.decode(data))  # aiohttp has unpacked it
        return web.json_response({"seq": 1} if status == 200 else {"problem": "no"}, status=status)

    app = web.Application()
    app.router.add_put("/{path:.*}", take)
    async with TestServer(app) as server:
        arguments = ("--simulate", "--node", "n1", "--beat", "1m", "--push", str(server.make_url("/")))
        span = ("--replay", "2026-10-03T14Z..2026-10-03T16Z")
        ended = await asyncio.to_thread(lambda: exporter(*arguments, *span, check=False))
    return ended.returncode, bodies


async def test_a_replay_pushes_final_bodies_only() -> None:
    code, bodies = await replayed(200)
    assert code == 0
    assert sorted(body.hour for body in bodies) == ["2026-10-03T14Z", "2026-10-03T15Z"]
    assert all(body.final and body.through == wire.HOUR_MS for body in bodies)


async def test_a_replay_whose_hours_are_refused_fails() -> None:
    assert (await replayed(422))[0] == 1


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_examples_and_exit_codes(flag: str) -> None:
    said = exporter(flag).stdout.decode()
    assert "examples:" in said
    assert "exit codes:" in said
    assert "GPU_EXPORTER_PUSH_TOKEN_FILE" in said
