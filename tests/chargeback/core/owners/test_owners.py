"""The labels and names of owners, and asking for an instant."""

from __future__ import annotations

import pytest

from chargeback.core.owners.owners import LabelKeys, Owner, OwnerBook, check_label_key, check_name


@pytest.mark.parametrize("key", ["team", "billing.example.com/team", "a/B_c.d-1", "x" * 63, "a." * 100 + "b/team"])
def test_a_label_key_is_one_that_kubernetes_takes(key: str) -> None:
    assert check_label_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "-team", "team_", "x" * 64, "Example.com/team", "/team", "a/", "a/b/c", "a" * 254 + "/x", "ä"]
)
def test_other_label_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="want a Kubernetes label key"):
        check_label_key(key)


@pytest.mark.parametrize("name", ["rd-001", "R&D 4711/EMEA", "x" * 63, "Zürich", "platform", "Unowned"])
def test_people_and_rules_may_give_any_name_that_fits(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "x" * 64, "unowned", "platform:idle"])
def test_names_that_would_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"want 1 to 63 printable|is an account of the ledger's own"):
        check_name(name)


def test_labels_are_read_by_their_keys() -> None:
    """An empty one says nothing."""
    keys = LabelKeys(cost_center="cc", team="example.com/team")
    found = keys.read({"cc": "1", "example.com/team": "", "gpu-tier": "gold", "team": "other"})
    assert found == {"cost_center": "1", "team": None, "tier": "gold"}


def test_a_book_answers_for_any_instant() -> None:
    """Half-open, and None where there was no such namespace."""
    book = OwnerBook(
        [
            Owner(namespace="n", from_ms=20, cost_center="b", version=2),
            Owner(namespace="n", from_ms=10, until_ms=15, cost_center="a", version=1),
        ]
    )
    found = [owner.version if (owner := book.at("n", at)) else None for at in (9, 10, 14, 15, 19, 20, 99)]
    assert found == [None, 1, 1, None, None, 2, 2]
    assert book.at("other", 10) is None
    assert book.changes("n", 10, 30) == [15, 20]
    assert book.changes("other", 0, 99) == []
