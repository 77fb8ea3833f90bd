"""What lies in `deploy/`: each name in it exists, and nothing has more rights than it needs."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command_from_info
from typer.models import CommandInfo

from wherever_gateway.check_command import check
from wherever_gateway.commands import gateway
from wherever_gateway.config.examining import examine
from wherever_gateway.config.reading import read_config

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def unit() -> dict[str, dict[str, list[str]]]:
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (DEPLOY / "wherever-gateway.service").read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def said(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def environment(function) -> set[str]:
    command = get_command_from_info(
        CommandInfo(name="x", callback=function),
        pretty_exceptions_short=False,
        rich_markup_mode=None,
    )
    return {str(option.envvar) for option in command.params if option.envvar}


@pytest.mark.parametrize("name", ["gateway.toml", "container.toml"])
def test_the_configurations_start(name, own_home):
    found = examine(DEPLOY / name, {}, own_home)
    assert [str(fault) for fault in found.faults if fault.fatal] == []
    assert any("calls need an API key" in line for line in found.said["listens"])


def test_the_service_runs_commands_and_reads_variables_that_exist():
    service = unit()["Service"]
    assert shlex.split(service["ExecStart"][0])[1:] == ["gateway"]
    asks, reloads = map(shlex.split, service["ExecReload"])
    assert (asks[1:], reloads) == (["gateway", "check"], ["/bin/kill", "-HUP", "$MAINPID"])
    named = {said.partition("=")[0] for said in service["Environment"]}
    assert named <= environment(gateway)
    assert named <= environment(check)


def test_the_service_is_notified_and_has_time_to_end_its_calls():
    service = unit()["Service"]
    assert service["Type"] == ["notify"]
    grace_s = read_config(DEPLOY / "gateway.toml").listen.grace_s
    assert float(service["TimeoutStopSec"][0]) > grace_s + 10
    assert service["KillMode"] == ["mixed"]


def test_the_service_has_no_rights_that_it_does_not_need():
    service = unit()["Service"]
    assert service["User"] == ["wherever"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["ProtectSystem"] == ["strict"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert int(service["LimitNOFILE"][0]) >= 65536


def test_the_container_runs_as_nobody_in_particular_and_ends_gracefully():
    assert said("USER")[-1] == "10001:10001"
    assert said("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(said("ENTRYPOINT")[0]) == ["wherever"]
    assert json.loads(said("CMD")[-1]) == ["gateway"]


def test_the_container_has_extras_and_variables_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (named,) = re.findall(r"'\.\[([a-z,]+)\]'", said("RUN")[0])
    assert set(named.split(",")) <= extras.keys()
    variables = dict(each.split("=", 1) for each in said("ENV")[0].split())
    ours = {name for name in variables if name.startswith("WHEREVER_")}
    assert ours <= environment(gateway)


def test_the_container_publishes_the_ports_of_its_configuration():
    listen = read_config(DEPLOY / "container.toml").listen
    ports = {listen.http_port, listen.grpc_port, listen.metrics_port}
    assert set(map(int, said("EXPOSE")[0].split())) == ports


def test_the_health_check_asks_where_the_container_listens():
    (check_line,) = said("HEALTHCHECK")
    command = json.loads(check_line.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health check", "exec")
    listen = read_config(DEPLOY / "container.toml").listen
    assert f"https://127.0.0.1:{listen.http_port}/v2/health/ready" in command[2]
