"""Label selectors mean what kubectl means by them."""

from __future__ import annotations

import pytest

from chargeback.core.selectors import EVERYTHING, parse_selector

LABELS = {"env": "dev", "example.com/kind": "batch", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("env=dev", True),
        ("env==dev", True),
        ("env = dev", True),
        ("env=prod", False),
        ("missing=dev", False),
        ("env!=prod", True),
        ("env!=dev", False),
        ("missing!=dev", True),
        ("env in (prod,dev)", True),
        ("env in ( prod , test )", False),
        ("env notin (prod)", True),
        ("env notin (dev)", False),
        ("missing notin (dev)", True),
        ("env", True),
        ("missing", False),
        ("!missing", True),
        ("! env", False),
        ("empty=", True),
        ("env=", False),
        ("example.com/kind in (batch,web),env=dev,!missing", True),
        ("example.com/kind in (batch,web),env=prod", False),
    ],
)
def test_a_selector_matches_as_kubectl_would(selector: str, matches: bool) -> None:
    assert parse_selector(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("", "'': want KEY=VALUE"),
        ("env=dev,", "'': want KEY=VALUE"),
        ("env in dev", "'env in dev': want KEY=VALUE"),
        ("env>1", "'env>1': want a Kubernetes label key"),
        ("a b", "'a b': want KEY=VALUE"),
        ("-env=dev", "'-env': want a Kubernetes label key"),
        ("a/b/c=dev", "'a/b/c': want a Kubernetes label key"),
        ("env=a/b", "'a/b': no label has such a value"),
        ("env in (dev,-)", "'-': no label has such a value"),
    ],
)
def test_what_cannot_be_meant_is_named(selector: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_selector(selector)
    assert said in str(refused.value)


def test_without_requirements_everything_matches() -> None:
    assert EVERYTHING.matches({})
