"""The spool: what lies on disk outlives the agent, and what cannot be read is set aside, never deleted."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from exporter import wire
from exporter.account import Account
from exporter.meter import Meter, Saved
from exporter.sight import Memory, Sight
from exporter.spool import SEQ_AHEAD, Spool, SpoolError
from tests.exporter.builders import HOUR_MS, NOON_MS, sight


def open_spool(folder: Path, *, node: str = "n1", now_ms: int = NOON_MS) -> Spool:
    return Spool(folder, cluster="lab", node=node, now_ms=now_ms)


def beats(count: int, *, seen: Sight | None = None) -> tuple[Saved | None, list[Account]]:
    """A meter's state after so many beats of ten minutes, and the hours it finished."""
    meter = Meter(beat_ms=600_000)
    finished: list[Account] = []
    for number in range(count):
        finished += meter.advance(seen or sight(), NOON_MS + number * 600_000)
    return meter.save(), finished


def write(spool: Spool, count: int) -> None:
    saved, finished = beats(count)
    assert spool.prepare(saved, Memory(), finished)()


def test_a_restarted_agent_finds_who_it_was_and_its_open_hour(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    write(first, 3)
    first.close()
    again = open_spool(tmp_path, now_ms=NOON_MS + HOUR_MS)
    assert again.resumed
    assert again.identity == first.identity
    assert again.saved == beats(3)[0]


def test_without_its_spool_it_is_another_instance(tmp_path: Path) -> None:
    first, other = open_spool(tmp_path / "a"), open_spool(tmp_path / "b")
    assert first.identity.instance != other.identity.instance


def test_a_number_is_on_disk_before_it_is_sent_and_never_used_again(tmp_path: Path) -> None:
    """A crash between sending and the next write must not send other things under the same number."""
    first = open_spool(tmp_path)
    saved, finished = beats(2)
    pending = first.prepare(saved, Memory(), finished)
    assert not first.may_send(first.seq)
    assert pending()
    assert first.may_send(first.seq)
    assert not first.may_send(first.seq + SEQ_AHEAD + 1)
    first.close()
    again = open_spool(tmp_path)
    again.prepare(saved, Memory(), [])
    assert again.seq > first.seq + SEQ_AHEAD - 1


def test_a_second_agent_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    with pytest.raises(SpoolError, match="in use by another agent"):
        open_spool(tmp_path)
    first.close()
    open_spool(tmp_path).close()


def test_another_nodes_spool_is_refused(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    write(first, 2)
    first.close()
    with pytest.raises(SpoolError, match="belongs to node 'n1'"):
        open_spool(tmp_path, node="n2")


def test_finished_hours_wait_until_they_are_acknowledged(tmp_path: Path) -> None:
    """Also across a restart; the body is whole and final."""
    first = open_spool(tmp_path)
    write(first, 8)
    first.close()
    again = open_spool(tmp_path)
    (hour,) = again.waiting()
    data = again.load(hour)
    assert data is not None
    body = wire.decode(gzip.decompress(data))
    assert (body.final, body.through, body.instance) == (True, HOUR_MS, first.identity.instance)
    again.acknowledge(hour)
    assert again.waiting() == []
    again.close()
    assert open_spool(tmp_path).waiting() == []


def test_a_corrupt_state_is_set_aside_and_reported(tmp_path: Path) -> None:
    """A new instance begins; the damaged file is kept for people to look at."""
    first = open_spool(tmp_path)
    write(first, 3)
    first.close()
    (tmp_path / "state.json.gz").write_bytes(b"half a fi")
    again = open_spool(tmp_path)
    assert not again.resumed
    assert again.identity.instance != first.identity.instance
    assert again.figures.corrupt_files == 1
    (kept,) = (tmp_path / "corrupt").iterdir()
    assert kept.read_bytes() == b"half a fi"


def test_a_corrupt_hour_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    write(first, 14)
    broken, whole = first.waiting()
    path = tmp_path / "hours" / broken.file_name
    path.write_bytes(path.read_bytes()[:-20])
    assert first.load(broken) is None
    assert first.load(whole) is not None
    assert first.waiting() == [whole]
    assert [kept.name.endswith(broken.file_name) for kept in (tmp_path / "corrupt").iterdir()] == [True]


def test_a_refused_hour_is_kept_with_its_reason(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    write(spool, 8)
    (hour,) = spool.waiting()
    spool.refuse(hour, "422: holdings[0]\n")
    assert spool.waiting() == []
    kept = sorted(path.name for path in (tmp_path / "refused").iterdir())
    assert kept == [hour.file_name, f"{hour.file_name}.reason.txt"]


def test_a_disk_that_fails_keeps_the_hour_in_memory_and_tries_again(tmp_path: Path) -> None:
    """Counted; the hour can be pushed meanwhile once its number is on disk."""
    spool = open_spool(tmp_path)
    write(spool, 2)
    hours = tmp_path / "hours"
    hours.rename(tmp_path / "away")
    saved, finished = beats(8)
    assert not spool.prepare(saved, Memory(), finished)()
    assert spool.figures.write_failures == 1
    (hour,) = spool.waiting()
    assert spool.load(hour) is not None
    (tmp_path / "away").rename(hours)
    assert spool.prepare(saved, Memory(), [])()
    assert [path.name for path in hours.iterdir()] == [hour.file_name]


def test_a_write_that_was_cut_off_leaves_the_old_state(tmp_path: Path) -> None:
    """A crash between write and rename: the half-written file is not the state."""
    first = open_spool(tmp_path)
    write(first, 3)
    first.close()
    (tmp_path / "state.json.gz.tmp").write_bytes(b"half")
    (tmp_path / "hours" / "x.tmp").write_bytes(b"half")
    again = open_spool(tmp_path)
    assert again.resumed
    assert again.figures.corrupt_files == 0
    assert msgspec.to_builtins(again.saved) == msgspec.to_builtins(beats(3)[0])
