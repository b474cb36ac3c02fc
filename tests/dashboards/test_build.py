"""The JSON that is checked in is what the source builds, and there is no other."""

import pytest

from dashboards.build import FOLDER, PAGES, built, path_of


@pytest.mark.parametrize("name", PAGES)
def test_the_checked_in_json_is_what_the_source_builds(name: str) -> None:
    """After a change, run `make dashboards`."""
    assert path_of(name).read_text(encoding="utf-8") == built(PAGES[name])


def test_building_twice_gives_the_same_bytes() -> None:
    for page in PAGES.values():
        assert built(page) == built(page)


def test_no_page_is_left_that_nothing_builds() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {path_of(name).name for name in PAGES}
