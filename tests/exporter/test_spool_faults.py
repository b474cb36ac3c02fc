"""The spool where it is hardest: killed at every step of a write, full, or full of what it did not write."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from exporter import finished, spool, wire
from exporter.finished import FinishedHour
from exporter.memory_spool import MemorySpool
from exporter.meter import Meter
from exporter.sight import Memory
from exporter.spool import SEQ_AHEAD, Spool, SpoolError
from tests.exporter.builders import HOUR_MS, NOON_MS, holding, sight


def opened(directory: Path, *, cluster: str = "lab", node: str = "n1") -> Spool:
    return Spool(directory, cluster=cluster, node=node, now_ms=NOON_MS)


class Agent:
    """The beats of an agent that keeps its account in a spool. A beat is ten seconds."""

    def __init__(self, keeper: Spool | MemorySpool, now_ms: int = NOON_MS) -> None:
        self.keeper = keeper
        self.meter = Meter(beat_ms=10_000, saved=keeper.saved)
        self.now_ms = now_ms

    def beat(self, *, later_ms: int = 10_000) -> bool:
        self.now_ms += later_ms
        if self.meter.is_cut_off(self.now_ms):
            self.keeper.begin_anew(self.meter.cut_off(self.now_ms), self.now_ms)
        done = self.meter.advance(sight(holdings=[holding()]), self.now_ms)
        return self.keeper.prepare(self.meter.save(), Memory(), done)()

    def told(self) -> list[tuple[int, int]]:
        """When the open hour's card was observed."""
        saved = self.meter.save()
        assert saved is not None
        (found,) = saved.account.cards.values()
        return [(span.start, span.end) for span in found.observed]

    def finish_hour(self) -> bool:
        """Two beats, the second in the next hour."""
        self.now_ms += HOUR_MS - self.now_ms % HOUR_MS - 15_000
        self.beat()
        return self.beat()


def bodies(keeper: Spool | MemorySpool) -> list[wire.NodeHour]:
    loaded = [keeper.load(hour) for hour in keeper.waiting()]
    return [wire.decode(gzip.decompress(data)) for data in loaded if data]


def break_disk(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def broken(fd: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", broken)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot be written"):
        opened(tmp_path / "file" / "spool")


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch: pytest.MonkeyPatch, agent: Agent, step: str, call: int) -> None:
    """Run a beat that finishes an hour and kill it at the nth call of a step of its writes."""
    real, calls = getattr(os, step), []

    def maybe(*args: object, **more: object) -> object:
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return real(*args, **more)

    monkeypatch.setattr(os, step, maybe)
    with pytest.raises(Killed):
        agent.finish_hour()
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("step", "call"), [("rename", 1), ("rename", 2), ("rename", 3), *(("fsync", call) for call in range(1, 7))]
)
def test_killed_anywhere_in_a_write_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int):
    """Whatever was cut off, the next agent has the same name and finishes the same hour once, readable."""
    before = opened(tmp_path)
    agent = Agent(before)
    agent.beat()
    killed_at(monkeypatch, agent, step, call)
    before.close()
    after = opened(tmp_path)
    assert after.identity == before.identity
    again = Agent(after, agent.now_ms)
    assert again.beat()
    assert [(body.hour, body.final) for body in bodies(after)] == [("2026-10-01T12Z", True)]
    assert after.figures.corrupt_files == 0
    assert not [path for path in tmp_path.rglob("*.tmp") if path.name != "state.json.gz.tmp"]


def test_finished_hours_of_a_lost_instance_are_still_sent(tmp_path: Path):
    first = opened(tmp_path)
    Agent(first).finish_hour()
    first.close()
    (tmp_path / "state.json.gz").write_bytes(b"not gzip")
    second = opened(tmp_path)
    assert [body.instance for body in bodies(second)] == [first.identity.instance]


def test_a_file_that_is_no_hour_is_kept_aside(tmp_path: Path):
    opened(tmp_path).close()
    (tmp_path / "hours" / "notes.txt").write_text("?")
    assert opened(tmp_path).figures.corrupt_files == 1


def test_only_the_newest_body_of_an_hour_can_be_acknowledged(tmp_path: Path):
    keeper = opened(tmp_path)
    Agent(keeper).finish_hour()
    (hour,) = keeper.waiting()
    keeper.acknowledge(FinishedHour(hour=hour.hour, instance=hour.instance, seq=hour.seq - 1))
    assert keeper.waiting() == [hour]


def test_of_two_bodies_of_an_hour_the_newer_is_kept(tmp_path: Path):
    keeper = opened(tmp_path)
    Agent(keeper).finish_hour()
    (hour,) = keeper.waiting()
    keeper.close()
    newer = FinishedHour(hour=hour.hour, instance=hour.instance, seq=hour.seq + 1)
    hours = tmp_path / "hours"
    (hours / newer.file_name).write_bytes((hours / hour.file_name).read_bytes())
    assert opened(tmp_path).waiting() == [newer]
    assert [path.name for path in hours.iterdir()] == [newer.file_name]


def test_a_full_spool_keeps_the_hour_in_memory_and_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keeper = opened(tmp_path)
    agent = Agent(keeper)
    agent.beat()
    monkeypatch.setattr(spool, "BYTES_MAX", 10)
    assert not agent.finish_hour()
    assert (keeper.figures.waiting, keeper.figures.write_failures) == (1, 1)
    assert [body.final for body in bodies(keeper)] == [True]
    assert list((tmp_path / "hours").iterdir()) == []
    monkeypatch.undo()
    assert agent.beat()
    assert len(list((tmp_path / "hours").iterdir())) == 1
    assert len(keeper.waiting()) == 1


def test_while_the_disk_fails_numbers_reserved_on_it_are_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keeper = opened(tmp_path)
    agent = Agent(keeper)
    agent.beat()
    break_disk(monkeypatch, OSError(28, "No space left on device"))
    for _ in range(3):
        assert not agent.beat()
    assert keeper.may_send(keeper.seq)
    assert not keeper.may_send(keeper.seq + SEQ_AHEAD)
    assert keeper.figures.write_failures == 3


def test_what_is_left_on_a_disk_that_failed_never_replaces_what_was_delivered_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A root file system turns read-only in mid-hour, and hours later the node is started anew for it."""
    keeper = opened(tmp_path)
    agent = Agent(keeper)
    agent.beat()
    break_disk(monkeypatch, OSError(30, "Read-only file system"))
    agent.beat()
    agent.finish_hour()
    (delivered,) = bodies(keeper)
    keeper.close()
    monkeypatch.undo()
    after = opened(tmp_path)
    assert Agent(after, agent.now_ms).beat(later_ms=3 * HOUR_MS)
    (told,) = bodies(after)
    assert (told.hour, told.instance) == (delivered.hour, delivered.instance)
    assert told.gpus[0].observed != delivered.gpus[0].observed
    assert told.seq < delivered.seq


def test_a_clock_that_was_hours_ahead_is_set_back(tmp_path: Path):
    """Its hours that are yet to come are set aside, and another instance tells the time that has been lived."""
    keeper = opened(tmp_path)
    agent = Agent(keeper, NOON_MS + 8 * HOUR_MS)
    agent.finish_hour()
    ahead = keeper.identity.instance
    agent.now_ms = NOON_MS
    agent.beat()
    keeper.close()
    keeper = opened(tmp_path)
    agent = Agent(keeper, agent.now_ms)
    for _ in range(61):
        assert keeper.identity.instance == ahead
        agent.beat()
    assert keeper.identity.instance != ahead
    agent.beat()
    assert agent.told() == [(620_000, 630_000)]
    assert keeper.waiting() == []
    assert [path.name.split(".")[0] for path in (tmp_path / "refused").iterdir()] == ["2026-10-01T20Z"] * 2


def test_in_memory_a_clock_that_was_hours_ahead_is_set_back():
    keeper = MemorySpool(cluster="lab", node="n1", now_ms=NOON_MS)
    agent = Agent(keeper, NOON_MS + 8 * HOUR_MS)
    agent.finish_hour()
    agent.now_ms = NOON_MS
    for _ in range(62):
        agent.beat()
    assert keeper.waiting() == []
    assert agent.told() == [(610_000, 620_000)]


def test_an_hour_that_a_kill_left_open_replaces_what_was_delivered_of_it(tmp_path: Path):
    keeper = opened(tmp_path)
    agent = Agent(keeper)
    agent.beat()
    delivered_seq = keeper.seq
    keeper.close()
    after = opened(tmp_path)
    assert Agent(after, agent.now_ms).beat(later_ms=3 * HOUR_MS)
    (told,) = bodies(after)
    assert (told.final, told.seq > delivered_seq) == (True, True)


def test_in_memory_the_oldest_hour_is_lost_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finished, "HOURS_IN_MEMORY_MAX", 2)
    keeper = MemorySpool(cluster="lab", node="n1", now_ms=NOON_MS)
    agent = Agent(keeper)
    for _ in range(3):
        agent.finish_hour()
    assert [hour.hour for hour in keeper.waiting()] == ["2026-10-01T13Z", "2026-10-01T14Z"]
    assert keeper.figures.hours_lost == 1


def test_its_size_is_known(tmp_path: Path):
    keeper = opened(tmp_path)
    Agent(keeper).finish_hour()
    assert keeper.figures.bytes_used == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
