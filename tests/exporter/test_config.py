"""Settings from flags, environment and file; every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config import PREFIX, SETTINGS, Listen, Replay, Settings, SettingsError, read_settings
from tests.exporter.builders import HOUR_MS, NOON_MS


def problems(
    flags: dict[str, str | None] | None = None, env: dict[str, str] | None = None, file: Path | None = None
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_settings(flags or {}, env or {}, file)
    return str(caught.value).splitlines()


def test_without_any_setting_the_defaults_are_those_of_the_documentation():
    settings = read_settings({}, {})
    assert settings.listen == Listen(host="0.0.0.0", port=10466)
    assert (settings.cluster, settings.beat, settings.proc) == ("default", 10_000, Path("/proc"))
    assert (settings.push, settings.spool, settings.simulate, settings.replay) == ("", None, "", None)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path):
    file = tmp_path / "agent.yaml"
    file.write_text("cluster: file\nnode: file\nbeat: 1m\n")
    env = {"GPU_EXPORTER_CLUSTER": "env", "GPU_EXPORTER_NODE": "env"}
    settings = read_settings({"cluster": "flag"}, env, file)
    assert (settings.cluster, settings.node, settings.beat) == ("flag", "env", 60_000)


def test_all_problems_come_at_once_each_with_key_value_and_what_is_wanted(tmp_path: Path):
    file = tmp_path / "agent.yaml"
    file.write_text("beat: soon\nspeed: 3\nnode: [a]\n")
    env = {"GPU_EXPORTER_REPLAY": "2026-09-02..2026-09-01", "GPU_EXPORTER_PUHS": "x"}
    found = problems({"listen": "nowhere", "push": "ftp://x", "links": "yes"}, env, file)
    text = "\n".join(found)
    for part in (
        f"{file}: beat='soon': want a duration",
        f"{file}: speed='3': want a setting, one of",
        f"{file}: node=['a']: want a text",
        "--listen='nowhere': want HOST:PORT",
        "--push='ftp://x': want the aggregator's URL",
        "--links='yes': want on or off",
        "GPU_EXPORTER_REPLAY='2026-09-02..2026-09-01': want FROM..UNTIL",
        "GPU_EXPORTER_PUHS='x': want a setting",
    ):
        assert part in text
    assert len(found) == 8


def test_what_kubernetes_sets_beside_a_service_of_our_name_is_no_setting():
    env = {
        "GPU_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "GPU_EXPORTER_SERVICE_PORT_METRICS": "10466",
        "GPU_EXPORTER_PORT": "tcp://10.0.0.1:10466",
        "GPU_EXPORTER_PORT_10466_TCP_ADDR": "10.0.0.1",
        # And beside one called gpu-exporter-metrics.
        "GPU_EXPORTER_METRICS_SERVICE_HOST": "10.0.0.2",
        "GPU_EXPORTER_METRICS_SERVICE_PORT_HTTP": "10466",
        "GPU_EXPORTER_METRICS_PORT": "tcp://10.0.0.2:10466",
        "GPU_EXPORTER_METRICS_PORT_10466_TCP": "tcp://10.0.0.2:10466",
    }
    assert read_settings({}, env).listen.port == 10466


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-10-01T12Z..2026-10-01T13Z", (NOON_MS, NOON_MS + HOUR_MS)),
        ("2026-10-01..2026-10-02", (NOON_MS - 12 * HOUR_MS, NOON_MS + 12 * HOUR_MS)),
    ],
)
def test_a_replay_is_of_whole_hours(text: str, wanted: tuple[int, int]):
    settings = read_settings({"replay": text, "push": "http://x"}, {})
    assert settings.replay == Replay(from_ms=wanted[0], until_ms=wanted[1])


@pytest.mark.parametrize("text", ["2026-10-01", "2026-10-01..", "2026-10-01T12:30Z..2026-10-02", "a..b"])
def test_no_other_replay(text: str):
    assert "want FROM..UNTIL" in problems({"replay": text, "push": "http://x"})[0]


def test_what_only_serves_a_push_wants_one():
    assert len(problems({"replay": "2026-10-01..2026-10-02", "push-token-file": "/t"})) == 2


@pytest.mark.parametrize("text", ["0s", "999ms", "11m", "10", "-1s", "1h"])
def test_a_beat_out_of_bounds_is_refused(text: str):
    assert "want a duration from 1s to 10m" in problems({"beat": text})[0]


@pytest.mark.parametrize("text", ["[", "- a\n", "a: b: c"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    assert str(file) in problems(file=file)[0]
    assert "No such file" in problems(file=tmp_path / "none.yaml")[0]


def test_every_setting_is_a_field_and_a_variable():
    assert {each.field for each in SETTINGS} == set(Settings.__dataclass_fields__)
    assert all(each.variable.startswith(PREFIX) for each in SETTINGS)
