"""The text format, read back by Prometheus' own client. The golden page and promtool are in test_families.py."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.family import COUNTER, GAUGE, Family
from exporter.samples import Sample, Standing, View
from exporter.sight import Sight
from exporter.text_page import TextPage
from exporter.totals import Totals

VIEW = View(
    standing=Standing(node="n", reading=None, sight=Sight(observed=True), totals=Totals()), devices=(), labels={}
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.booleans()
samples = st.dictionaries(st.tuples(texts, texts), values, max_size=5)


def page_of(*families: tuple[str, str, dict[tuple[str, ...], float], tuple[str, ...]]) -> TextPage:
    def family(name: str, help: str, found: dict[tuple[str, ...], float], labels: tuple[str, ...]) -> Family:
        kind = COUNTER if name.endswith("_total") else GAUGE

        def read(view: View) -> Iterator[Sample]:
            return iter(found.items())

        return Family(kind, name, labels, help, read)

    return TextPage([family(*each) for each in families])


@given(counted=samples, gauged=samples, help=texts)
def test_what_is_written_is_what_was_meant(
    counted: dict[tuple[str, ...], float], gauged: dict[tuple[str, ...], float], help: str
) -> None:
    """parse(write(x)) = x, whatever stands in a label and however often it is written."""
    names = ("pod", "a")
    page = page_of(("c_total", "Counts.", counted, names), ("g", help, gauged, names))
    for _ in range(2):
        read = {
            (sample.name, sample.labels["pod"], sample.labels["a"]): sample.value
            for metric in text_string_to_metric_families(page.write(VIEW).decode())
            for sample in metric.samples
        }
        meant = {
            (name, *key): float(value)
            for name, of in (("c_total", counted), ("g", gauged))
            for key, value in of.items()
        }
        assert read == meant


def test_a_sample_without_labels_and_a_family_without_samples() -> None:
    page = page_of(("a", "A \\ b\nc.", {(): math.inf}, ()), ("b_total", "B.", {}, ("x",)))
    assert page.write(VIEW).decode() == (
        "# HELP a A \\\\ b\\nc.\n# TYPE a gauge\na +Inf\n# HELP b_total B.\n# TYPE b_total counter\n"
    )


def test_labels_of_what_is_gone_are_forgotten() -> None:
    """A node's pods come and go for months: what is remembered is one page's."""
    found: dict[tuple[str, ...], float] = {}
    page = page_of(("g", "G.", found, ("pod",)))
    for number in range(1_000):
        found.clear()
        found[(f"pod-{number}",)] = 1.0
        page.write(VIEW)
    assert len(page._texts) == 1
