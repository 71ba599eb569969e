"""Addresses from the environment and .env: complete, incomplete and malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.errors import SettingsError
from helpers.settings import Addresses, as_path, load_settings, redact

POSTGRES = "postgresql://postgres:secret1@db.example:5432/ecommerce"
MONGO = "mongodb://shop:secret2@db.example:27017/ecommerce?authSource=admin"
REDIS = "redis://:secret3@db.example:6379/0"
ALL = {"POSTGRES_URL": POSTGRES, "MONGO_URL": MONGO, "REDIS_URL": REDIS}


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_without_addresses_the_course_starts_embedded_servers(dotenv: Path) -> None:
    assert load_settings({}, dotenv=dotenv).addresses is None


def test_three_addresses_are_used_unchanged(dotenv: Path) -> None:
    assert load_settings(ALL, dotenv=dotenv).addresses == Addresses(POSTGRES, (), MONGO, REDIS)


def test_an_address_without_a_database_gets_the_shops(dotenv: Path) -> None:
    environ = ALL | {"POSTGRES_URL": "postgresql://db.example:5432"}
    addresses = load_settings(environ, dotenv=dotenv).addresses
    assert addresses is not None
    assert addresses.coordinator == "postgresql://db.example:5432/ecommerce"


def test_shop_dotenv_names_another_file(dotenv: Path) -> None:
    dotenv.write_text("SHOP_HOME=/elsewhere\n")
    assert load_settings({"SHOP_DOTENV": str(dotenv)}).data_folder == Path("/elsewhere")


def test_workers_are_separated_by_spaces(dotenv: Path) -> None:
    environ = ALL | {"POSTGRES_WORKER_URLS": "postgresql://a:1/x postgresql://b:2/x"}
    addresses = load_settings(environ, dotenv=dotenv).addresses
    assert addresses is not None
    assert addresses.workers == ("postgresql://a:1/x", "postgresql://b:2/x")


def test_the_environment_overrides_the_dotenv_file(dotenv: Path) -> None:
    dotenv.write_text(
        "PASSWORD=secret\nPOSTGRES_URL=postgresql://u:${PASSWORD}@file:1/x\n"
        f"MONGO_URL={MONGO}\nREDIS_URL=redis://file:1/0\n"
    )
    addresses = load_settings({"REDIS_URL": REDIS}, dotenv=dotenv).addresses
    assert addresses == Addresses("postgresql://u:secret@file:1/x", (), MONGO, REDIS)


@pytest.mark.parametrize("given", [["POSTGRES_URL"], ["MONGO_URL"], ["POSTGRES_URL", "REDIS_URL"]])
def test_incomplete_addresses_raise_an_error_that_names_the_missing_ones(
    given: list[str], dotenv: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: ALL[name] for name in given}, dotenv=dotenv)
    for name in ALL:
        assert name in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_white_space_around_an_address_is_ignored(name: str, dotenv: Path) -> None:
    environ = ALL | {name: f" {ALL[name]}\r\n"}
    assert load_settings(environ, dotenv=dotenv) == load_settings(ALL, dotenv=dotenv)


@pytest.mark.parametrize(
    "workers",
    [POSTGRES, "postgresql://db.example/other", "postgresql://w:1/x postgresql://u@W:1/y"],
)
def test_a_server_that_is_named_twice_is_rejected(workers: str, dotenv: Path) -> None:
    with pytest.raises(SettingsError, match="name the same server twice"):
        load_settings(ALL | {"POSTGRES_WORKER_URLS": workers}, dotenv=dotenv)


def test_worker_names_may_be_ipv6_addresses(dotenv: Path) -> None:
    workers = {
        "POSTGRES_WORKER_URLS": "postgresql://[::1]:1/x postgresql://w:2/x",
        "POSTGRES_WORKER_NAMES": "[::1]:1 w:2",
    }
    addresses = load_settings(ALL | workers, dotenv=dotenv).addresses
    assert addresses is not None
    assert addresses.worker_names == (("::1", 1), ("w", 2))


@pytest.mark.parametrize("name", ["POSTGRES_URL", "POSTGRES_WORKER_URLS"])
def test_several_hosts_in_one_address_are_rejected(name: str, dotenv: Path) -> None:
    several = "postgresql://u:secret@a:1,b:2/x"
    with pytest.raises(SettingsError, match=f"^{name} has several hosts in one address") as caught:
        load_settings(ALL | {name: several}, dotenv=dotenv)
    assert "secret" not in str(caught.value)


def test_workers_without_addresses_are_rejected(dotenv: Path) -> None:
    with pytest.raises(SettingsError, match="POSTGRES_WORKER_URLS"):
        load_settings({"POSTGRES_WORKER_URLS": POSTGRES}, dotenv=dotenv)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_URL", "host=db.example password=secret"),
        ("POSTGRES_URL", "mysql://u:secret@db.example/x"),
        ("MONGO_URL", "db.example:27017/secret"),
        ("REDIS_URL", "redis://:secret@db.example:port/0"),
        ("REDIS_URL", "redis:///secret"),
        ("REDIS_URL", "redis://db.example/secret"),
        ("REDIS_URL", "redis://db.example/-1?secret"),
        ("REDIS_URL", "redis://:1/secret@db.example:6379/0"),
        ("POSTGRES_URL", "postgresql://[::1:5432/secret"),
    ],
)
def test_a_malformed_address_is_rejected_without_showing_it(
    name: str, value: str, dotenv: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(ALL | {name: value}, dotenv=dotenv)
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_bindir_without_postgres_is_rejected(dotenv: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PG_BINDIR"):
        load_settings({"PG_BINDIR": str(tmp_path)}, dotenv=dotenv)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (POSTGRES, "postgresql://postgres:***@db.example:5432/ecommerce"),
        (MONGO, "mongodb://shop:***@db.example:27017/ecommerce?authSource=admin"),
        (REDIS, "redis://:***@db.example:6379/0"),
        ("redis://db.example:6379/0", "redis://db.example:6379/0"),
        ("postgresql://u:p%40ss@w@db.example/x", "postgresql://u:***@db.example/x"),
        ("postgresql://u:secret@[::1/x", "postgresql://…"),
        ("postgresql://u:12/se#c?r@db.example/x", "postgresql://u:***@db.example/x"),
        ("postgresql://db.example/x?password=a&b=c", "postgresql://db.example/x?password=***&b=c"),
        ("redis://db.example?db=1&Password=a", "redis://db.example?db=1&Password=***"),
    ],
)
def test_a_password_is_redacted(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_the_representation_of_addresses_has_no_password() -> None:
    shown = repr(Addresses(POSTGRES, (POSTGRES,), MONGO, REDIS))
    assert "secret" not in shown
    assert "db.example" in shown


@pytest.mark.parametrize("url", [REDIS, "redis://h", "rediss://h:1/", "redis://h:1/15?timeout=1"])
def test_an_address_of_a_logical_database_is_accepted(url: str, dotenv: Path) -> None:
    addresses = load_settings(ALL | {"REDIS_URL": url}, dotenv=dotenv).addresses
    assert addresses is not None
    assert addresses.redis == url


@pytest.mark.parametrize(("text", "name"), [("~", ""), ("~/a b/c", "a b/c"), ("a/~b", None)])
def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, text: str, name: str | None
) -> None:
    monkeypatch.setenv("HOME", "/somewhere/home")
    expected = Path(text) if name is None else Path("/somewhere/home") / name
    assert as_path(text) == expected


@pytest.mark.parametrize("text", ["~no-such-user/a", "$HOME/a", "", "a b/"])
def test_what_a_shell_does_not_expand_stays_as_it_is(text: str) -> None:
    assert as_path(text) == Path(text)


def test_the_settings_expand_a_leading_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "shop.env").write_text("SHOP_HOME=~/data\n", "utf-8-sig")
    settings = load_settings({"SHOP_DOTENV": "~/shop.env"})
    assert settings.data_folder == tmp_path / "data"


def test_a_dotenv_file_that_cannot_be_read_is_named(dotenv: Path) -> None:
    dotenv.write_bytes("# Café\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it is not UTF-8 text"):
        load_settings({}, dotenv=dotenv)
