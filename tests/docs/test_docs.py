"""What the documents say is what the programs do: names in code and names in documents are the same."""

from __future__ import annotations

import re
from pathlib import Path

from chargeback.answers.costs import FIELDS as COST_FIELDS
from chargeback.cli.main import main
from chargeback.core.details import DETAILS, HEADER
from chargeback.core.months.statements import COLUMNS
from chargeback.families import FAMILIES
from chargeback.files.prices import parse_prices
from chargeback.setting_table import SETTINGS
from exporter.config import SETTINGS as AGENT_SETTINGS
from exporter.families import FAMILIES as AGENT_FAMILIES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(text: str, heading: str) -> str:
    """From a heading to the next of its kind."""
    start = text.index(f"\n## {heading}\n")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else None]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def test_every_setting_of_the_aggregator_is_documented_with_its_default_and_meaning() -> None:
    """docs/settings.md has the very table of chargeback/config.py."""
    written = section((ROOT / "docs/settings.md").read_text(), "chargeback serve")
    rows = [
        f"| `--{setting.name}` | {f'`{setting.default}`' if setting.default else ''} | {setting.help} |"
        for setting in SETTINGS
    ]
    assert [line for line in written.splitlines() if line.startswith("| `--")] == rows


def test_every_metric_of_the_aggregator_is_documented() -> None:
    """docs/metrics.md lists each family with its labels, and no other."""
    written = section((ROOT / "docs/metrics.md").read_text(), "chargeback serve")
    assert first_cells(written) == [family.name for family in FAMILIES]
    for family in FAMILIES:
        row = next(line for line in written.splitlines() if line.startswith(f"| `{family.name}` |"))
        assert re.findall(r"`([a-z_]+)`", row.split("|")[3]) == list(family.labels), family.name


def test_every_metric_of_the_agent_is_documented() -> None:
    """docs/metrics.md lists each family of the agent, and no other."""
    written = section((ROOT / "docs/metrics.md").read_text(), "gpu-exporter")
    rows = [
        f"| `{family.name}` | {family.help} | {', '.join(f'`{label}`' for label in family.labels)} |"
        for family in AGENT_FAMILIES
    ]
    assert [line for line in written.splitlines() if line.startswith("| `")] == rows


def test_every_setting_of_the_agent_is_documented() -> None:
    """docs/settings.md lists each setting of the agent with its default."""
    written = section((ROOT / "docs/settings.md").read_text(), "gpu-exporter")
    assert first_cells(written) == [f"--{setting.name}" for setting in AGENT_SETTINGS]


def test_every_command_is_in_the_readme() -> None:
    """The README's table of programs names each command, and no other."""
    written = first_cells(section(README, "The programs"))
    assert sorted(written) == sorted(["gpu-exporter", *(f"chargeback {name}" for name in main.commands)])


def test_every_column_of_the_csv_is_documented() -> None:
    """docs/csv.md names each column in order."""
    statement, _, details = (ROOT / "docs/csv.md").read_text().partition("\n## Details\n")
    assert columns_in(statement) == list(COLUMNS)
    assert columns_in(details) == [*DETAILS, *COST_FIELDS, "currency", *HEADER]


def columns_in(text: str) -> list[str]:
    """What the rows of its tables begin with."""
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]


def test_the_price_file_in_the_readme_is_valid() -> None:
    """What the README shows as a price file is one."""
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert [len(parse_prices(block, "README.md").prices) for block in blocks] == [5]


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    """`make demo` and `make test` are what a newcomer types first."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^make ([a-z-]+)$", README, re.MULTILINE) == ["demo", "test"]
    assert {"demo", "test", "check"} <= set(targets)


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links in README.md and docs/ name files that exist."""
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "deploy/manifests/README.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_documents_name_files_that_exist() -> None:
    """Every path in backticks in docs/architecture.md is there."""
    text = (ROOT / "docs/architecture.md").read_text()
    for path in re.findall(r"`((?:chargeback|exporter|core|migrations)/[\w/.]+?)(?::\w+)?`", text):
        found = [ROOT / path, ROOT / "chargeback" / path]
        assert any(place.exists() for place in found), path
