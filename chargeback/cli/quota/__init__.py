"""`chargeback quota`: what quotas allow and use, what a cluster really does with them, and whether GPUs would fit."""

from __future__ import annotations

import click

from chargeback.cli.quota.fit import fit_gpus
from chargeback.cli.quota.lint import lint_quotas
from chargeback.cli.quota.show import show_quotas


@click.group()
def quota() -> None:
    """Show GPU quotas, check them, ask whether GPUs would fit."""


for command in (show_quotas, lint_quotas, fit_gpus):
    quota.add_command(command)
