"""ServeOptions: flags, environment variables and defaults of one declaration."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import pytest

from helpers.api.options import ServeOptions, add_flags, given_flags
from helpers.errors import SettingsError


def _flags(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return given_flags(parser.parse_args(arguments))


def test_without_flags_and_environment_the_defaults_apply() -> None:
    assert ServeOptions.read({}, **_flags()) == ServeOptions()


def test_every_option_can_be_set_by_a_flag() -> None:
    flags = ["--host", "::1", "--port", "0", "--read-model", "--lab", "--client-timeout", "3"]
    assert ServeOptions.read(
        {}, **_flags(*flags, "--deadline", "4", "--no-breaker", "--no-relay")
    ) == (
        ServeOptions(
            host="::1",
            port=0,
            read_model=True,
            lab=True,
            client_timeout=3.0,
            deadline=4.0,
            breaker=False,
            relay=False,
        )
    )


def test_every_option_can_be_set_by_the_environment() -> None:
    environ = {
        "SHOP_TOKEN": "t" * 16,
        "SHOP_HOST": "::1",
        "SHOP_PORT": "0",
        "SHOP_READ_MODEL": "on",
        "SHOP_LAB": "ON",
        "SHOP_CLIENT_TIMEOUT": "3",
        "SHOP_DEADLINE": "4",
        "SHOP_BREAKER": "off",
        "SHOP_RELAY": "off",
    }
    assert ServeOptions.read(environ) == ServeOptions(
        token="t" * 16,
        host="::1",
        port=0,
        read_model=True,
        lab=True,
        client_timeout=3.0,
        deadline=4.0,
        breaker=False,
        relay=False,
    )


def test_a_flag_takes_precedence_over_the_environment() -> None:
    assert ServeOptions.read({"SHOP_DEADLINE": "4"}, **_flags("--deadline", "2")).deadline == 2
    # The variable is not even read.
    assert not ServeOptions.read({"SHOP_BREAKER": "x"}, **_flags("--no-breaker")).breaker


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("SHOP_TOKEN", "short", "must be 16 or more"),
        ("SHOP_PORT", "http", "'http' is not a whole number"),
        ("SHOP_DEADLINE", "nan", "'nan' is not a number of seconds above 0"),
        ("SHOP_LAB", "yes", "neither on nor off"),
    ],
)
def test_a_malformed_variable_is_refused_by_name(variable: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} .*{words}"):
        ServeOptions.read({variable: text})


def test_the_help_names_flag_variable_and_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    assert "--deadline SECONDS" in text
    assert "(default: 5.0; SHOP_DEADLINE)" in text
    assert "--no-breaker" in text
    assert "(SHOP_BREAKER=off)" in text
    assert "SHOP_TOKEN" not in text


def test_the_token_is_not_in_the_repr() -> None:
    assert "secret" not in repr(ServeOptions(token="secret" * 3))


def test_importing_the_package_opens_nothing_and_imports_no_framework() -> None:
    code = "import sys, helpers.api; sys.exit(sorted({'fastapi', 'psycopg'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "[]\n")
