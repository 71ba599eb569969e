"""Parse a store's address, and rewrite it to lead through a proxy."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from helpers.errors import SettingsError, StoreName
from helpers.settings import redact

_STORES: dict[str, tuple[StoreName, int]] = {
    "postgresql": ("PostgreSQL", 5432),
    "postgres": ("PostgreSQL", 5432),
    "mongodb": ("MongoDB", 27017),
    "redis": ("Redis", 6379),
}
_ENCRYPTED = {"rediss", "mongodb+srv"}
# Options that name the server again, which must not bypass the proxy.
_PLACES = {"PostgreSQL": {"host", "hostaddr", "port"}, "MongoDB": {"directconnection"}}
_LAST_PORT = 65535


@dataclass(frozen=True)
class Target:
    """A store's parsed address: a Unix socket at ``path``, or else ``host`` and ``port``."""

    store: StoreName
    host: str
    port: int
    path: str | None
    _parts: SplitResult

    def __repr__(self) -> str:
        return f"{self.store} at {self.path or f'{self.host}:{self.port}'}"

    def through(self, port: int) -> str:
        """Return the address with a proxy on this machine's ``port`` in the store's place."""
        user, at, _ = self._parts.netloc.rpartition("@")
        places = _PLACES.get(self.store, set())
        options = [(k, v) for k, v in _options(self._parts) if k.lower() not in places]
        path = self._parts.path
        if self.store == "MongoDB":
            # Otherwise the driver connects to the address that the server reports.
            options.append(("directConnection", "true"))
            path = path or "/"
        return urlunsplit(
            self._parts._replace(
                netloc=f"{user}{at}127.0.0.1:{port}", path=path, query=urlencode(options)
            )
        )


def find_target(url: str) -> Target:
    """Return the store that ``url`` leads to.

    Raises ``SettingsError`` if it cannot be proxied: it names several servers or none, uses TLS
    that verifies the server's name, or is not the address of a store.
    """
    try:
        parts = urlsplit(url)
        host, several = parts.netloc.rpartition("@")[2], "," in parts.netloc
        port = None if several else parts.port
    except ValueError:
        raise _refusal(url, "is malformed", "Correct it") from None
    if parts.scheme in _ENCRYPTED:
        raise _encrypted(url)
    if parts.scheme not in _STORES:
        raise _refusal(
            url,
            "is none of postgresql://…, mongodb://… and redis://…",
            "Give the address of one of the three stores",
        )
    store, default = _STORES[parts.scheme]
    options = {name.lower(): value for name, value in _options(parts)}
    host = unquote(parts.hostname or "") if not several else host
    if store == "PostgreSQL":
        host = options.get("hostaddr") or options.get("host") or host
        port = _port(url, options["port"]) if "port" in options else port
    if several or "," in host:
        raise _refusal(url, "names several servers", "Name one: a proxy leads to one server")
    if _is_encrypted(options):
        raise _encrypted(url)
    if options.get("loadbalanced") == "true":
        raise _refusal(url, "asks for a load balancer", "Leave loadBalanced out")
    if not host:
        raise _refusal(url, "names no server", "Name one, such as 127.0.0.1")
    port = default if port is None else port
    path = None
    if host.startswith("/"):
        path = f"{host}/.s.PGSQL.{port}" if store == "PostgreSQL" else host
    return Target(store, host, port, path, parts)


def _options(parts: SplitResult) -> list[tuple[str, str]]:
    return parse_qsl(parts.query, keep_blank_values=True)


def _port(url: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise _refusal(url, "names no single port", "Correct it")
    return int(text)


def _is_encrypted(options: dict[str, str]) -> bool:
    return (
        options.get("sslmode") == "verify-full"
        or options.get("tls", options.get("ssl", "false")).lower() == "true"
    )


def _encrypted(url: str) -> SettingsError:
    return _refusal(
        url,
        "requires TLS that verifies the server's name, and a proxy has another name",
        "Use an address without TLS for this",
    )


def _refusal(url: str, cause: str, way_out: str) -> SettingsError:
    # Options are omitted: in PostgreSQL's addresses, one of them may be the password.
    shown = redact(url).partition("?")[0]
    return SettingsError(f"{shown} cannot be proxied: the address {cause}. {way_out}.")
