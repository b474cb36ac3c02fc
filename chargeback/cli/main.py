"""`chargeback`: its commands, listed."""

from __future__ import annotations

import click

from chargeback.cli.adjust import adjust
from chargeback.cli.budgets import budgets
from chargeback.cli.close import close_month
from chargeback.cli.demo import demo
from chargeback.cli.explain import explain
from chargeback.cli.export import export
from chargeback.cli.owners import owners
from chargeback.cli.plans import plans
from chargeback.cli.policy import policy
from chargeback.cli.prices import prices
from chargeback.cli.quota import quota
from chargeback.cli.report import report
from chargeback.cli.rerate import rerate
from chargeback.cli.server import migrate, serve
from chargeback.cli.status import status


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="gpu-chargeback")
def main() -> None:
    """Who used which GPU, and what it cost.

    Exit codes: 0 done; 1 done, but something is missing or due (named on stderr); 2 wrong use or settings, or the
    ledger cannot be reached.
    """


for command in (
    serve, demo, status, report, export, explain, close_month, prices, policy, owners, plans, budgets, quota, adjust,
    rerate, migrate,
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    main()
