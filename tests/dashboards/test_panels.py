"""Variables are filled in as Grafana fills them in: otherwise the other tests of this folder prove nothing."""

import promql_parser
import pytest

from tests.dashboards.panels import panel_queries, substitute


@pytest.mark.parametrize("written", ["$team", "${team}", "${team:regex}"])
def test_every_way_to_write_a_variable_is_filled_in(written: str) -> None:
    assert substitute(f'a{{team=~"{written}"}}', {"team": "vision"}) == 'a{team=~"vision"}'


def test_a_variable_nobody_chose_is_all() -> None:
    assert substitute('a{team=~"$team"}', {}) == 'a{team=~".*"}'


def test_several_values_are_alternatives() -> None:
    assert substitute('a{team=~"$team"}', {"team": ["vision", "speech"]}) == 'a{team=~"(vision|speech)"}'


def test_a_name_that_looks_like_a_pattern_matches_itself_only() -> None:
    expr = substitute('a{team=~"$team"}', {"team": "a.b|c"})
    assert expr == r'a{team=~"a\\.b\\|c"}'
    assert promql_parser.parse(expr).matchers.matchers[0].value == r"a\.b\|c"


def test_grafanas_own_variables_become_durations() -> None:
    assert substitute("rate(a_total[$__rate_interval]) + b[${__range}]", {}) == "rate(a_total[1m]) + b[1h]"


def test_queries_of_folded_rows_are_found_too() -> None:
    panel = {
        "type": "stat",
        "title": "One",
        "targets": [{"refId": "A", "legendFormat": "x", "expr": "x", "instant": True}],
    }
    folded = {"panels": [{"type": "row", "title": "Row", "panels": [panel]}]}
    assert [query.expr for query in panel_queries(folded)] == ["x"]
