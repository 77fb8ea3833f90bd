"""`wherever repo init | keys | refresh` and `wherever publish`."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from wherever_contracts.errors import UpdateError
from wherever_edge.cli import JsonFlag, Output, run
from wherever_gateway.registry.keys import ROLES, Role

if TYPE_CHECKING:
    from wherever_edge.updates.state import Channel
    from wherever_gateway.registry.repository import Published, Repository

_PUBLISHED = re.compile(r"([a-z0-9][a-z0-9._-]*)@([0-9][0-9A-Za-z.+-]*)")

Directory = Annotated[Path, typer.Argument(help="The directory that a web server serves.")]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", help="The directory of the keys; by default DIR-keys, beside DIR."),
]


@run
def init(
    directory: Directory,
    *,
    keys: Keys = None,
    expires_days: Annotated[
        int,
        typer.Option(
            min=1, max=3650, help="Devices trust what they read for so long; then it is too old."
        ),
    ] = 30,
    json: JsonFlag = False,
) -> None:
    """Make a registry: its keys, and signed metadata for packages to come."""
    repository = _repository(directory, keys)
    root = repository.create(expires_days)
    sha256 = hashlib.sha256(root.read_bytes()).hexdigest()
    result = {
        "directory": str(directory),
        "keys": str(repository.keys.folder),
        "root": str(root),
        "root_sha256": sha256,
        "expires_days": expires_days,
    }
    text = (
        f"{directory} is a registry; its keys are in {repository.keys.folder}\n"
        f"root sha256  {sha256}\n\n"
        f"- serve it:    python -m http.server --directory {directory} 8080\n"
        f"- publish:     wherever publish PACKAGE --repo {directory} --channel canary\n"
        f"- a device:    wherever update --registry URL --root-sha256 {sha256}\n"
        f"- keep root-*.pem offline: only `repo keys --rotate`, and a root near its end, need it\n"
        f"- sign anew at least every {max(1, expires_days // 3)} days: wherever repo refresh "
        f"{directory}"
    )
    Output(json=json).emit(result, text)


@run
def keys_command(
    directory: Directory,
    *,
    keys: Keys = None,
    rotate: Annotated[
        str | None, typer.Option(help=f"Give a role a new key: {', '.join(ROLES)}.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show who signs what, until when, and whether the key is here; or exchange a key."""
    repository = _repository(directory, keys)
    if rotate is not None:
        if rotate not in ROLES:
            raise typer.BadParameter(f"{rotate!r} is none of {', '.join(ROLES)}")
        repository.rotate(rotate)
    rows = _key_rows(repository)
    lines = [
        f"{row['role']:<10} {row['key'][:16]}  {row['private']:<8}  until {row['expires']}"
        for row in rows
    ]
    if rotate is not None:
        lines.append(f"the old {rotate} key has no power any more; its file can be destroyed")
    Output(json=json).emit({"rotated": rotate, "keys": rows}, "\n".join(lines))


@run
def refresh(directory: Directory, *, keys: Keys = None, json: JsonFlag = False) -> None:
    """Sign the registry anew before devices find it too old; to be run by a timer."""
    repository = _repository(directory, keys)
    missing = repository.refresh()
    until = _day(repository, "timestamp")
    lines = [f"devices trust {directory} until {until}"]
    lines += [
        f"the {role} metadata ends on {_day(repository, role)}, and its key is not here"
        for role in missing
    ]
    Output(json=json).emit({"until": until, "unsigned": missing}, "\n".join(lines))


@run
def publish(
    package: Annotated[
        str, typer.Argument(help="A package, an archive, or NAME@VERSION of a published one.")
    ],
    *,
    repo: Annotated[Path, typer.Option("--repo", help="The registry's directory.")],
    channel: Annotated[str, typer.Option(help="stable or canary.")],
    keys: Keys = None,
    json: JsonFlag = False,
) -> None:
    """Sign a package into a registry, and let a channel mean it."""
    from wherever_edge.updates.state import Channel  # noqa: PLC0415 (pydantic: 40 ms)

    if channel not in get_args(Channel):
        raise typer.BadParameter(f"{channel!r} is neither stable nor canary")
    done = _publish(package, _repository(repo, keys), cast("Channel", channel))
    result = {field: getattr(done, field) for field in done.__slots__}
    Output(json=json).emit(result, _told(done))


def _publish(package: str, repository: Repository, channel: Channel) -> Published:
    from wherever_edge.packages.store import open_package  # noqa: PLC0415 (pydantic: 40 ms)

    if Path(package).exists():
        with tempfile.TemporaryDirectory() as unpacked:
            opened = open_package(Path(package), unpack_into=Path(unpacked))
            return repository.publish(opened, channel)
    named = _PUBLISHED.fullmatch(package)
    if named is None:
        raise UpdateError(f"{package} is no package here, and no NAME@VERSION", "repository")
    return repository.point(named[1], named[2], channel)


def _told(done: Published) -> str:
    what = f"{done.name} {done.version} ({done.bytes} bytes, digest {done.digest[:16]})"
    if done.before == done.version:
        return f"{what} is {done.channel} already"
    moved = f" instead of {done.before}" if done.before else ""
    return f"{what} is {'published and ' if done.added else ''}{done.channel} now{moved}"


def _key_rows(repository: Repository) -> list[dict[str, Any]]:
    chain = repository.load()
    return [
        {
            "role": role,
            "key": key_id,
            "private": "here" if repository.keys.path(role, key_id).exists() else "not here",
            "version": getattr(chain, role).signed.version,
            "expires": f"{chain.expiry(role):%Y-%m-%d}",
        }
        for role in ROLES
        for key_id in chain.key_ids(role)
    ]


def _day(repository: Repository, role: Role) -> str:
    return f"{repository.load().expiry(role):%Y-%m-%d %H:%M} UTC"


def _repository(directory: Path, keys: Path | None) -> Repository:
    from wherever_gateway.registry.repository import Repository  # noqa: PLC0415 (tuf: 90 ms)

    beside = directory.resolve()
    return Repository(directory, keys or beside.with_name(f"{beside.name}-keys"))
