"""The history of pods: rows are added at their bind and ended, and what they touch is rated again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from chargeback.core.lines import Line
from chargeback.core.lives import PodLife, PodSlot
from chargeback.core.metered import Sight
from chargeback.core.pods import Ask, GroupPart, OwnerLabels, Pod
from chargeback.store.claims import Settled, claim, settle
from chargeback.store.database import Connection, Database, open_database
from chargeback.store.evidence import read_evidence
from chargeback.store.feeds import followed, note_followed
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_hours import NodeHourKey, differences_since
from chargeback.store.pods import FEED, GonePod, lives_of, note_pods, slots_of
from chargeback.store.problems import problems_since
from chargeback.store.sights import note_sights
from chargeback.tasks.close_hours import close_all
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, MINUTE_MS, body, gpu, holding, put, start_ms

GPU = "nvidia.com/gpu"
LATER_MS = start_ms(HOUR + 100)


def at(minutes: float, hour: int = HOUR) -> int:
    return start_ms(hour) + round(minutes * MINUTE_MS)


def pod(name: str = "train", bound: float | None = 10, **changes: Any) -> Pod:
    """Bound so many minutes into the hour, with one card."""
    fields: dict[str, Any] = {
        "node": "n1" if bound is not None else None,
        "bound_ms": None if bound is None else at(bound),
        "asks": (Ask(container="main", resource=GPU, count=1),),
    }
    return Pod(namespace="alpha", name=name, uid=changes.pop("uid", f"uid-{name}"), **(fields | changes))


def note(database: Database, now: float, *changed: Pod, gone: Any = (), all_there: Any = None) -> int:
    """Tell the ledger what changed, so many minutes into the hour."""
    with database.write() as connection:
        return note_pods(connection, CLUSTER, changed, gone, at(now), all_there=all_there)


def lives(database: Database, hour: int = HOUR, *names: str, node: str = "n1") -> list[PodLife]:
    with database.read() as connection:
        followed_ms = followed(connection, CLUSTER, FEED)
        assert followed_ms is not None
        return lives_of(connection, NodeHourKey(cluster=CLUSTER, node=node, hour=hour), names, followed_ms)


def rows(database: Database, hour: int = HOUR) -> list[tuple[str, float, float, float | None]]:
    """Uid, bind, certain life and end, in minutes of the hour."""
    return [
        (
            life.uid,
            (life.bound_ms - at(0)) / MINUTE_MS,
            (life.alive_ms - at(0)) / MINUTE_MS,
            None if life.ended_ms is None else (life.ended_ms - at(0)) / MINUTE_MS,
        )
        for life in lives(database, hour)
    ]


def rated_hours(database: Database, *hours: int, node: str = "n1") -> None:
    """Some hours that are there and were rated."""
    for hour in hours:
        put(database, body(node, hour))
    with database.write() as connection:
        for key, revision, known in claim(connection, LATER_MS, 1000):
            settle(connection, [Settled(key=key, revision=revision + 1, known=known)])


def due(database: Database, now_ms: int = LATER_MS) -> list[tuple[str, int]]:
    """Node and hour, counted from the first, of what is to be rated again."""
    with database.write() as connection:
        return [(key.node, key.hour - HOUR) for key, _, _ in claim(connection, now_ms, 1000)]


def close(database: Database, now_ms: int = LATER_MS) -> list[Line]:
    close_all(database, now_ms, GRACE_MS)
    with database.read() as connection:
        return list(lines_of_month(connection, "2026-10"))


def held(lines: list[Line]) -> list[tuple[str, str, float, float, str]]:
    """Pod, device, from and to in minutes of the first hour, evidence."""
    return sorted(
        (x.pod, x.device, (x.start_ms - at(0)) / MINUTE_MS, (x.end_ms - at(0)) / MINUTE_MS, x.evidence)
        for x in lines
        if x.kind == "held"
    )


def test_a_pod_lives_as_far_as_the_api_was_followed(database: Database) -> None:
    """Each look carries it on."""
    note(database, 12, pod())
    assert rows(database) == [("uid-train", 10, 12, None)]
    note(database, 30)
    assert rows(database) == [("uid-train", 10, 30, None)]


def test_a_pod_that_was_not_bound_is_no_row(database: Database) -> None:
    """It holds nothing."""
    assert note(database, 12, pod(bound=None)) == 0
    assert rows(database) == []


def test_every_field_comes_back(database: Database) -> None:
    """What rating asks of a pod."""
    part = GroupPart(groups=("g1", "g2"), container="main", portion=Fraction(1, 3))
    labels = OwnerLabels(cost_center="cc-1", team="red", tier="spot", dimensions=(("app", "x"), ("job", "7")))
    asks = (Ask(container="prep", resource="nvidia.com/mig-1g.10gb", count=2, init=True),)
    note(database, 12, pod(asks=asks, part=part, labels=labels, uses_claims=True, priority_class="high"))
    note(database, 12, pod("memory", part=replace(part, portion=None, memory_mib=4000)))
    memory, life = sorted(lives(database), key=lambda life: life.pod)
    assert (life.namespace, life.pod, life.asks, life.part, life.labels) == ("alpha", "train", asks, part, labels)
    assert (life.uses_claims, memory.uses_claims) == (True, False)
    assert (life.priority_class, memory.priority_class) == ("high", None)
    assert memory.part == replace(part, portion=None, memory_mib=4000)


def test_a_finished_pod_ended_when_the_kubelet_says(database: Database) -> None:
    """To its second: certain up to it, over at the next."""
    note(database, 12, pod())
    note(database, 30, pod(terminal=True, finished_ms=at(20)))
    assert rows(database) == [("uid-train", 10, pytest.approx(20 - 1 / 60), 20)]


def test_a_finished_pod_without_a_time_ended_between_two_looks(database: Database) -> None:
    note(database, 12, pod())
    note(database, 30, pod(terminal=True))
    assert rows(database) == [("uid-train", 10, 12, 30)]


def test_a_finished_pod_that_was_never_seen_alive(database: Database) -> None:
    """Nothing after its bind is certain."""
    note(database, 30, pod(terminal=True))
    assert rows(database) == [("uid-train", 10, 10, 30)]


def test_a_deleted_pod_ended_between_what_is_certain(database: Database) -> None:
    note(database, 12, pod())
    note(database, 30, gone=[GonePod(pod=pod(), alive_ms=at(25), gone_ms=at(29))])
    assert rows(database) == [("uid-train", 10, 25, 29)]


def test_a_pod_that_came_and_went_between_two_looks(database: Database) -> None:
    """One call brings all of it."""
    note(database, 5)
    note(database, 30, gone=[GonePod(pod=pod(), alive_ms=at(11), gone_ms=at(12))])
    assert rows(database) == [("uid-train", 10, 11, 12)]


def test_an_end_stays(database: Database) -> None:
    """Whatever is told again, and however late."""
    note(database, 12, pod())
    note(database, 30, pod(terminal=True, finished_ms=at(20)))
    before = rows(database)
    note(database, 31, pod(), pod(terminal=True, finished_ms=at(21)))
    note(database, 32, gone=[GonePod(pod=pod(), alive_ms=at(31), gone_ms=at(32))])
    note(database, 33, all_there=[])
    assert rows(database) == before


def test_a_stamp_that_comes_after_the_end_was_found(ledger: Database) -> None:
    """A kubelet that was away tells later that its pod ended while nobody saw it: nobody pays beyond that."""
    note(ledger, 12, pod())
    put(ledger, body(gpus=[gpu(observed=[(0, 1_080_000)])], holdings=[holding(start=600_000, end=1_080_000)]))
    note(ledger, 25)
    note(ledger, 30, pod(terminal=True))
    assert held(close(ledger, at(75)))[-1][2:] == (18, 25, "api")
    note(ledger, 80, pod(terminal=True, finished_ms=at(20)))
    assert rows(ledger) == [("uid-train", 10, pytest.approx(20 - 1 / 60), 20)]
    assert held(close(ledger))[-1][2:] == (18, pytest.approx(20 - 1 / 60), "api")
    assert note(ledger, 90, pod(terminal=True, finished_ms=at(20))) == 0


def test_telling_the_same_again_changes_nothing(database: Database) -> None:
    """And makes no hour due."""
    note(database, 12, pod())
    rated_hours(database, HOUR)
    assert note(database, 12, pod()) == 0
    assert (rows(database), due(database)) == ([("uid-train", 10, 12, None)], [])


def test_a_list_after_an_absence_ends_who_is_not_in_it(database: Database) -> None:
    """Certain is only that they lived when the API was last followed."""
    note(database, 12, pod(), pod("stays", 11), pod("other", 11, node="n2"))
    note(database, 50, pod("stays", 11), all_there=["uid-stays"])
    assert rows(database) == [("uid-train", 10, 12, 50), ("uid-stays", 11, 50, None)]
    assert [life.ended_ms for life in lives(database, node="n2")] == [at(50)]


def test_a_list_says_nothing_of_who_was_bound_while_it_was_made(database: Database) -> None:
    note(database, 12, pod("new", 11.99))
    note(database, 12, all_there=[])
    assert rows(database) == [("uid-new", 11.99, 12, None)]


def test_a_list_that_is_older_than_what_is_known(database: Database) -> None:
    """Of a replica that lags: who is not in it was gone by then, and nobody lives beyond his end."""
    note(database, 10, pod("gone", 2))
    note(database, 40)
    note(database, 30, all_there=[])
    assert rows(database) == [("uid-gone", 2, 30, 30)]
    with database.read() as connection:
        assert followed(connection, CLUSTER, FEED) == at(40)


def test_an_old_word_of_a_finished_pod_is_no_life_beyond_its_end(database: Database) -> None:
    """As above, where only the phase tells."""
    note(database, 10, pod("gone", 2))
    note(database, 40)
    note(database, 30, pod("gone", 2, terminal=True))
    assert rows(database) == [("uid-gone", 2, 30, 30)]


def test_which_pods_an_hour_knows(database: Database) -> None:
    """Who lived in it, and earlier ones of the names that were asked for."""
    note(database, 12, pod("early", -100), pod("now", 10), pod("later", 70))
    note(database, 80, pod("early", -100, terminal=True, finished_ms=at(-50)))
    assert [life.pod for life in lives(database)] == ["now"]
    assert [life.pod for life in lives(database, HOUR, "early", "later")] == ["early", "now"]
    assert [life.pod for life in lives(database, HOUR - 1)] == ["early"]
    assert [life.pod for life in lives(database, HOUR + 1)] == ["now", "later"]


# What is rated again.


def test_a_pod_that_is_told_late_makes_its_hours_due(database: Database) -> None:
    """From its bind to now, for an old kubelet goes on listing it; those of no other node."""
    for node in ("n1", "n2"):
        rated_hours(database, *range(HOUR - 1, HOUR + 4), node=node)
    note(database, 130, pod(terminal=True, finished_ms=at(20)))
    assert due(database) == [("n1", 0), ("n1", 1), ("n1", 2)]


def test_an_end_that_is_told_late_makes_all_hours_due_that_took_it_for_alive(database: Database) -> None:
    """The kubelet was away for three hours; until then the pod seemed to live."""
    note(database, 12, pod())
    note(database, 185)
    rated_hours(database, *range(HOUR, HOUR + 5))
    note(database, 190, pod(terminal=True, finished_ms=at(20)))
    assert due(database) == [("n1", 0), ("n1", 1), ("n1", 2), ("n1", 3)]


def test_who_went_in_an_absence_makes_its_hours_due(database: Database) -> None:
    """All nodes' from when the API was last followed: who is still there has lived through them."""
    for node in ("n1", "n2"):
        rated_hours(database, *range(HOUR - 1, HOUR + 4), node=node)
    note(database, 12)
    note(database, 130, all_there=[])
    assert due(database) == [(node, hour) for hour in (0, 1, 2) for node in ("n1", "n2")]


def test_within_an_hour_nothing_is_due_again_for_its_time_alone(database: Database) -> None:
    note(database, 12)
    rated_hours(database, HOUR)
    note(database, 13)
    assert due(database) == []


def see(connection: Connection, key: NodeHourKey, sights: list[Sight]) -> None:
    news = read_evidence(connection, [key]).see(key, sights)
    note_sights(connection, {key: news}, LATER_MS)


def test_a_first_sight_makes_the_hours_since_the_bind_due(database: Database) -> None:
    """And those after it, where the pod was taken for one that nobody saw."""
    note(database, 200, pod(), pod("ended", 5, terminal=True, finished_ms=at(130)))
    rated_hours(database, *range(HOUR - 1, HOUR + 5))
    slot = PodSlot(container="main", device="GPU-1", shares=(0,), resource=GPU)
    key = NodeHourKey(cluster=CLUSTER, node="n1", hour=HOUR + 1)
    with database.write() as connection:
        see(connection, key, [Sight(uid="uid-ended", at_ms=at(70), slots=(slot,))])
    assert due(database) == [("n1", 0), ("n1", 2)]
    rated_hours(database)
    with database.write() as connection:  # not earlier, so nothing new; nor is a pod that nobody knows
        see(connection, key, [Sight(uid="uid-ended", at_ms=at(71), slots=())])
        see(connection, key, [Sight(uid="uid-nobody", at_ms=at(71), slots=())])
    assert due(database) == []
    assert [(life.seen_ms, life.slots) for life in lives(database) if life.pod == "ended"] == [(at(70), (slot,))]
    earlier = key._replace(hour=HOUR)
    with database.write() as connection:
        see(connection, earlier, [Sight(uid="uid-ended", at_ms=at(50), slots=(slot,))])
    assert [life.seen_ms for life in lives(database) if life.pod == "ended"] == [at(50)]
    assert due(database) == []


def test_a_pod_has_no_slots_by_a_claim_that_only_watches() -> None:
    """What else it was given stays its own."""
    own = PodSlot(container="main", device="GPU-1", shares=(0,), resource=GPU)
    claimed, watched = (replace(own, device=name, claim=f"a/{name}") for name in ("GPU-2", "GPU-3"))
    assert slots_of((own, claimed, watched), ("a/GPU-3",)) == (own, claimed)
    assert slots_of((own, claimed, watched), ()) == (own, claimed, watched)


def test_sights_of_many_node_hours_are_noted_as_if_one_by_one(database: Database) -> None:
    """Each node's own hours, but not those that were rated with it and know of it."""
    note(database, 200, *(pod(name, 5, node=name) for name in ("n1", "n2", "n3")))
    for name in ("n1", "n2", "n3"):
        rated_hours(database, *range(HOUR, HOUR + 4), node=name)
    keys = [NodeHourKey(cluster=CLUSTER, node=name, hour=hour) for name, hour in (("n1", HOUR + 1), ("n2", HOUR))]
    with database.write() as connection:
        evidence = read_evidence(connection, keys)
        sights = [Sight(uid=f"uid-{key.node}", at_ms=start_ms(key.hour), slots=()) for key in keys]
        found = {key: evidence.see(key, [sight]) for key, sight in zip(keys, sights, strict=True)}
        with_others = [*keys, NodeHourKey(cluster=CLUSTER, node="n2", hour=HOUR + 2)]
        note_sights(connection, found, LATER_MS, with_others)
    assert due(database) == [("n1", 0), ("n2", 1), ("n1", 2), ("n1", 3), ("n2", 3)]
    assert [life.seen_ms for name in ("n1", "n2", "n3") for life in lives(database, node=name)] == [
        start_ms(HOUR + 1), start_ms(HOUR), None,
    ]  # fmt: skip


# Replicas.


def test_replicas_that_note_the_same_at_once(database: Database, url: str) -> None:
    """Also the first time ever: one row each, and the end that came first."""
    replicas = [open_database(url) for _ in range(3)]
    start = threading.Barrier(len(replicas))

    def tell(number: int) -> None:
        start.wait()
        note(replicas[number], 12 + number / 10, *(pod(f"p{n}") for n in range(20)))
        start.wait()
        gone = [GonePod(pod=pod(f"p{n}"), alive_ms=at(20), gone_ms=at(20)) for n in range(20)]
        note(replicas[number], 20 + number / 10, gone=gone)

    with ThreadPoolExecutor(len(replicas)) as pool:
        list(pool.map(tell, range(len(replicas))))
    assert rows(database) == [(f"uid-{name}", 10, 20, 20) for name in sorted(f"p{n}" for n in range(20))]
    for replica in replicas:
        replica.close()


def test_an_end_that_another_replica_notes_meanwhile_stays(database: Database, url: str) -> None:
    """Both saw it alive; the second waits for the first, and leaves what it wrote."""
    if database.is_sqlite:
        return  # one writer at a time: the second reads what the first wrote
    note(database, 12, pod())
    other = open_database(url)
    second = threading.Thread(
        target=note, args=(other, 31), kwargs={"gone": [GonePod(pod=pod(), alive_ms=at(30), gone_ms=at(31))]}
    )
    with database.write() as connection:
        note_pods(connection, CLUSTER, [pod(terminal=True, finished_ms=at(20))], [], at(30))
        second.start()
        second.join(0.3)
    second.join()
    assert rows(database) == [("uid-train", 10, pytest.approx(20 - 1 / 60), 20)]
    other.close()


def test_replicas_that_begin_to_follow_at_once(database: Database, url: str) -> None:
    """The second waits for the first, and finds its row."""
    if database.is_sqlite:
        return  # one writer at a time
    other = open_database(url)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as connection:
            note_pods(connection, CLUSTER, [], [], at(12))
            second = pool.submit(note, other, 13)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
        assert second.result() == 0
    with database.read() as connection:
        assert followed(connection, CLUSTER, FEED) == at(13)
    other.close()


def test_a_feed_never_goes_back(database: Database) -> None:
    with database.write() as connection:
        assert followed(connection, CLUSTER, FEED) is None
        for now_ms in (5, 3, 7):
            note_followed(connection, CLUSTER, FEED, now_ms)
        note_followed(connection, "elsewhere", FEED, 1)
        assert followed(connection, CLUSTER, FEED) == 7


# From bodies and pods to lines.


def test_a_pod_bound_in_one_hour_and_seen_in_the_next(ledger: Database) -> None:
    """Its first hour, rated as if nobody had seen it, is rated again and has the card it was seen on."""
    cards = [gpu("GPU-1"), gpu("GPU-2")]
    put(ledger, body(gpus=cards))
    note(ledger, 62, pod(bound=59.9))
    first = close(ledger, at(75))
    assert [row[:2] for row in held(first)] == [("train", "GPU-1")]  # a guess: the lowest that is free
    put(ledger, body(hour=HOUR + 1, gpus=cards, holdings=[holding("GPU-2", start=5_000)]))
    note(ledger, 125)
    assert held(close(ledger, at(135))) == [
        ("train", "GPU-2", pytest.approx(59.9), 60, "api"),
        ("train", "GPU-2", 60, pytest.approx(60 + 1 / 12), "api"),
        ("train", "GPU-2", pytest.approx(60 + 1 / 12), 120, "exclusive"),
    ]


def test_a_finished_pod_that_the_kubelet_lists_for_hours(ledger: Database) -> None:
    """Told at the third hour, all three are put right; the difference says how much."""
    note(ledger, 12, pod())
    for hour in range(3):
        put(ledger, body(hour=HOUR + hour, holdings=[holding(start=600_000 if hour == 0 else 0)]))
    note(ledger, 185)
    assert held(close(ledger, at(195)))[-1][3] == 180
    note(ledger, 196, pod(terminal=True, finished_ms=at(20)))
    assert held(close(ledger)) == [("train", "GPU-1", 10, 20, "exclusive")]
    with ledger.read() as connection:
        assert differences_since(connection, HOUR) == {CLUSTER: {"late": 160 * MINUTE_MS}}


def test_a_silent_node_whose_pod_lives_on(ledger: Database) -> None:
    """Hour after hour its pod holds its card, and from the pod's end on the card is a gap."""
    note(ledger, 12, pod())
    put(ledger, body(gpus=[gpu(observed=[(0, 1_800_000)])], holdings=[holding(start=600_000, end=1_800_000)]))
    note(ledger, 260, pod(terminal=True, finished_ms=at(150)))
    lines = close(ledger, at(250))
    assert held(lines) == [
        ("train", "GPU-1", 10, 30, "exclusive"),
        ("train", "GPU-1", 30, 60, "api"),
        ("train", "GPU-1", 60, 120, "api"),
        ("train", "GPU-1", 120, pytest.approx(150 - 1 / 60), "api"),
    ]
    assert sum(line.list_micros or 0 for line in lines) == 4 * 3_000_000  # three hours silent, and all accounted for


@pytest.mark.parametrize(("models", "placed"), [(("H100", "H100"), True), (("H100", "A100"), False)])
def test_a_pod_that_nobody_saw_is_placed_where_it_costs_the_same(
    ledger: Database, models: tuple[str, str], placed: bool
) -> None:
    """Cards of different price: which it had is not known, and that is a problem."""
    names = {"H100": "NVIDIA H100 80GB HBM3", "A100": "NVIDIA A100-SXM4-80GB"}
    put(ledger, body(gpus=[gpu(f"GPU-{n}", model=names[model]) for n, model in enumerate(models)]))
    note(ledger, 62, pod(bound=10, terminal=True, finished_ms=at(12)))
    assert bool(held(close(ledger))) is placed
    with ledger.read() as connection:
        found = [(each.kind, each.subject) for each in problems_since(connection, HOUR)]
        assert set(differences_since(connection, HOUR)[CLUSTER]) == {"unseen" if placed else "unplaced"}
    assert found == ([] if placed else [("unplaced", "alpha/train: 1 of nvidia.com/gpu")])


def test_a_share_and_a_whole_card_do_not_cost_the_same(ledger: Database) -> None:
    """Though the card's rate is one."""
    shared = gpu("GPU-1", layouts=[wire.Layout(start=0, end=60 * MINUTE_MS, mig=False, shares=4)])
    put(ledger, body(gpus=[shared, gpu("GPU-2")]))
    note(ledger, 62, pod(bound=10, terminal=True, finished_ms=at(12)))
    assert held(close(ledger)) == []
