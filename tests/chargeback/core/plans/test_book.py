"""Plans with history: what holds when, and how a file's word lies over its old one. Docstrings are laws."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.plans.book import FILE, SEEN, PlanBook, PlanVersion
from chargeback.core.plans.history import file_change, learn, seen_plans
from chargeback.core.plans.key import PriceKey, check_price_key, key_sku, profile_of, read_price_key
from chargeback.core.plans.sources import Plan, plans
from chargeback.core.quota.resources import CAP, GUARANTEED, PRICE_KEY
from chargeback.core.quota.specs import QuotaSpec

GPU = "nvidia.com/gpu"
A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"
END = 20


@st.composite
def files(draw: st.DrawFn) -> list[PlanVersion]:
    """Entries of one namespace that never hold two at once of one key."""
    found = []
    for key in draw(st.sets(st.sampled_from(("x", "y")))):
        cuts = sorted(draw(st.sets(st.integers(0, END), min_size=2, max_size=5)))
        spans = list(zip(cuts, [*cuts[1:], None], strict=True))
        for start, end in draw(st.lists(st.sampled_from(spans), unique=True)):
            number = draw(st.integers(0, 2))
            found.append(
                PlanVersion(
                    namespace="a", resource=GPU, guaranteed=number, price_key=key, from_ms=start, until_ms=end,
                    layer=FILE,
                )
            )  # fmt: skip
    return found


def says(book: PlanBook, at_ms: int) -> list[tuple[str, int | None, str]]:
    return [(each.price_key, each.guaranteed, each.layer) for each in book.at("a", at_ms)]


@given(st.lists(files(), min_size=1, max_size=4))
def test_the_last_file_is_what_holds(imports: list[list[PlanVersion]]) -> None:
    """However many came before; nothing recorded is touched, and importing the last again adds nothing."""
    history: list[PlanVersion] = []
    for wanted in imports:
        before = list(history)
        history += file_change(history, wanted, now_ms=0, who="ann").added
        assert history[: len(before)] == before
        assert file_change(history, wanted, now_ms=0, who="ann").added == ()
    assert len({each.version for each in history}) == len(history)
    for at_ms in range(-1, END + 3):
        wanted_now = sorted((each.price_key, each.guaranteed, FILE) for each in imports[-1] if each.holds(at_ms))
        assert says(PlanBook(history), at_ms) == wanted_now


@given(files(), files())
def test_an_import_leaves_versions_alone_where_it_says_the_same(
    first: list[PlanVersion], second: list[PlanVersion]
) -> None:
    """So lines of hours that it does not change keep the version they cite."""
    history = list(file_change([], first, now_ms=0, who="ann").added)
    after = [*history, *file_change(history, second, now_ms=1, who="ann").added]
    for at_ms in range(END + 3):
        old, new = PlanBook(history).at("a", at_ms), PlanBook(after).at("a", at_ms)
        if says(PlanBook(history), at_ms) == says(PlanBook(after), at_ms):
            assert [each.version for each in new] == [each.version for each in old]


@given(files(), st.randoms(use_true_random=False))
def test_changes_are_where_something_changes(entries: list[PlanVersion], order: st.DataObject) -> None:
    """Between two of them nothing does, in whatever order versions are read."""
    numbered = [replace(each, version=number) for number, each in enumerate(entries)]
    book = PlanBook(numbered)
    cuts = [0, *book.changes("a", 0, END + 1), END + 1]
    for start, end in itertools.pairwise(cuts):
        assert all(book.at("a", at) == book.at("a", start) for at in range(start, end))
    assert book.namespaces(0, END + 1) == (["a"] if any(book.at("a", at) for at in range(END + 1)) else [])
    order.shuffle(numbered)  # type: ignore[attr-defined]
    assert all(PlanBook(numbered).at("a", at) == book.at("a", at) for at in range(END + 1))


def test_a_file_speaks_for_its_resource_and_its_time() -> None:
    """What was seen of another resource, or at another time, holds."""
    filed = PlanVersion(namespace="a", resource=GPU, guaranteed=0, from_ms=5, until_ms=9, layer=FILE, version=1)
    seen = PlanVersion(namespace="a", resource=GPU, guaranteed=3, layer=SEEN, version=2)
    other = replace(seen, resource="nvidia.com/gpu.shared", version=3)
    book = PlanBook([filed, seen, other])
    assert [(each.resource, each.guaranteed) for each in book.at("a", 5)] == [(GPU, 0), (other.resource, 3)]
    assert [each.guaranteed for each in book.at("a", 9)] == [3, 3]
    assert book.at("b", 5) == ()


def test_a_plan_that_comes_back_with_a_clock_that_went_back() -> None:
    """It never holds before what was there already."""
    plan = PlanVersion(namespace="a", resource=GPU, guaranteed=1)
    (first,) = learn([], plan, 100).added
    learnt = learn([first], replace(plan, guaranteed=2), 50)
    assert (learnt.from_ms, learnt.added[0].from_ms, learnt.ends) == (100, 100, {1: 100})
    assert learn([replace(first, until_ms=200)], plan, 150).added[0].from_ms == 200


def annotated(**values: str) -> QuotaSpec:
    keys = {"guaranteed": GUARANTEED, "cap": CAP, "key": PRICE_KEY}
    return QuotaSpec(namespace="team", name="gpu", annotations={keys[name]: text for name, text in values.items()})


def test_a_price_key_is_read_from_annotations() -> None:
    """Of the pair of a quota, too; two keys are a contradiction and no number."""
    (found,), problems = plans([annotated(guaranteed="2", key=H100)], [], "annotations")
    assert ((found.guaranteed, found.price_key), problems) == ((2, H100), [])
    pair = QuotaSpec(
        namespace="team", name="gpu", hard={"requests.nvidia.com/gpu": "3"}, annotations={PRICE_KEY: A100}
    )
    (found,), _ = plans([pair], [], "quota")
    assert (found.guaranteed, found.price_key, found.source) == (3, A100, "quota")
    other = QuotaSpec(namespace="team", name="other", annotations={PRICE_KEY: A100})
    (found,), problems = plans([annotated(guaranteed="2", key=H100), other], [], "annotations")
    assert found.guaranteed is None
    assert seen_plans([found], problems)["team"].problem == (
        f"ResourceQuota team/gpu: {PRICE_KEY}: {H100}, but ResourceQuota team/other says {A100}: want one price key "
        "for the namespace"
    )
    assert plans([annotated(key=H100)], [], "annotations") == ([], [])


def test_more_devices_than_there_can_be_are_a_slip() -> None:
    (found,), problems = plans([annotated(guaranteed="1e9", cap="5e9")], [], "annotations")
    seen = seen_plans([found], problems)["team"]
    assert (seen.guaranteed, seen.cap) == (None, None)
    assert (
        seen.problem == "1000000000: want no more than 1000000 devices; 5000000000: want no more than 1000000 devices"
    )
    assert isinstance(found, Plan)


@pytest.mark.parametrize("text", ["", " x", "x ", "a\nb", "m / ", " / p", "m / p / q", "x" * 201])
def test_what_is_no_price_key(text: str) -> None:
    with pytest.raises(ValueError, match="want a"):
        check_price_key(text)


def test_price_keys_however_they_are_written() -> None:
    models = (A100, H100)
    assert read_price_key("gpu.h100-80gb-hbm3", models) == PriceKey(H100)
    assert read_price_key("gpu.a100-sxm4-80gb.mig-1g.10gb", models) == PriceKey(A100, "1g.10gb")
    assert read_price_key(f"{A100} / 1g.10gb", ()) == PriceKey(A100, "1g.10gb")
    assert read_price_key("gpu.l4", models) is None
    assert read_price_key("gpu.h100-80gb-hbm3", (H100, "h100 80gb hbm3")) is None  # two that look alike
    for key in (PriceKey(H100), PriceKey(A100, "1g.10gb")):
        assert key_sku(str(key)) == key_sku(key.sku) == key.sku


@pytest.mark.parametrize(
    ("resource", "profile"),
    [
        (GPU, ""),
        ("nvidia.com/gpu.shared", ""),
        ("nvidia.com/mig-1g.10gb", "1g.10gb"),
        ("nvidia.com/mig-1g.10gb.shared", "1g.10gb"),
        ("nvidia.com/mig-1g.10gb.me", "1g.10gb+me"),
        ("nvidia.com/mig-1c.3g.40gb", "1c.3g.40gb"),
    ],
)
def test_the_profile_that_a_resource_names(resource: str, profile: str) -> None:
    assert profile_of(resource) == profile


def test_a_plan_file_goes_before_annotations_where_plans_are_shown() -> None:
    """Its cap is its own, else where Kubernetes stops; keys of one resource are the namespace's together."""
    quota = replace(annotated(guaranteed="2", cap="9"), hard={"requests.nvidia.com/gpu": "16"})
    filed = PlanVersion(namespace="team", resource=GPU, guaranteed=5, price_key=H100, layer=FILE)
    (found,), problems = plans([quota], [], "annotations", [filed])
    assert problems == []
    assert (found.guaranteed, found.cap, found.source, found.quota, found.price_key) == (5, 16, "file", "gpu", H100)
    other = replace(filed, guaranteed=1, cap=3, price_key=A100)
    (found,), _ = plans([], [], "annotations", [replace(filed, cap=6), other])
    assert (found.guaranteed, found.cap, found.price_key, found.quota) == (6, 9, "", None)
    assert plans([], [], "annotations", [replace(filed, resource="nvidia.com/mig-1g.10gb")]) == ([], [])
