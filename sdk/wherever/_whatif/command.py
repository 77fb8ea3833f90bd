"""`wherever replay --policy NEW --receipts DIR`: what recorded calls would have cost."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from wherever._records.reading import read_records
from wherever._whatif.aims import measure_of
from wherever._whatif.endings import happened
from wherever._whatif.facts import Facts
from wherever._whatif.known import all_known
from wherever._whatif.outcome import outcome_of
from wherever._whatif.policy import EXAMPLE, Policy, policy_of
from wherever._whatif.report import Report, view
from wherever._whatif.world import WhatIf
from wherever_contracts.errors import InputError, SettingsError
from wherever_edge.cli import printable

if TYPE_CHECKING:
    from wherever_edge.cli import Output

_SEED = 1


def what_if_command(policy: Path, receipts: Path, output: Output) -> None:
    """Say what recorded calls would have cost under a policy, beside what they did.

    Args:
        policy: a TOML file.
        receipts: a journal's directory, the home that it lies in, or one file of records.
        output: where it is printed.

    Raises:
        SettingsError: the policy says what does not exist.
        InputError: there is no recorded call.
    """
    report = what_if(read_policy(policy), receipts)
    output.emit(report.to_dict(), lambda: printable("\n".join(view(report))))


def read_policy(path: Path) -> Policy:
    """The policy that a file holds.

    Raises:
        SettingsError: it cannot be read, is no TOML, or says what does not exist.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        return policy_of(given)
    except (OSError, ValueError) as error:  # the errors of TOML, of text and of settings, too
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path}: {why}\na policy looks like this:\n\n{EXAMPLE}") from error


def what_if(policy: Policy, receipts: Path) -> Report:
    """The figures of recorded calls, really and under a policy.

    Raises:
        InputError: there is no recorded call.
    """
    left_out: list[str] = []
    facts = Facts(read_records(receipts, lambda path, why: left_out.append(f"{path}: {why}")))
    if not facts.receipts:
        raise InputError("receipts", "recorded calls", f"none in {receipts}", kind="argument")
    policy = policy.filled(facts.aim)
    chance = Random(_SEED).random  # noqa: S311 (no secret)
    measures = {
        name: measure_of(policy, known, facts, name, chance)
        for name, known in all_known(receipts, facts).items()
    }
    endings = WhatIf(facts, policy, lambda model, _: measures[model].bar, chance).run()
    return Report(
        before=outcome_of([happened(receipt, policy) for receipt in facts.receipts]),
        after=outcome_of(endings),
        estimated=sum(each.estimated for each in endings),
        guessed=sum(each.guessed for each in endings),
        beyond=sum(each.beyond for each in endings),
        measures=measures,
        unasked=sorted({host for model in facts.models.values() for host in model.unasked}),
        left_out=left_out,
        others=facts.others,
    )
