"""The options of the API: one declaration for command-line flags, environment and help.

This module imports no framework, so that ``python -m helpers --help`` stays fast.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from helpers.errors import SettingsError

T = TypeVar("T")

_MAX_SECONDS = 3600
_MIN_TOKEN_LENGTH = 16


def _option(default: Any, help_text: str, *, flag: bool = True, shown: bool = True) -> Any:
    """Declare a field that can be set by ``SHOP_<NAME>`` and, if ``flag``, by ``--<name>``."""
    return field(default=default, repr=shown, metadata={"help": help_text, "flag": flag})


@dataclass(frozen=True)
class ServeOptions:
    """How to serve the shop.

    Every option that has a help text below can be set by an environment variable, ``SHOP_`` and
    its name in capitals. All but the token are also flags of ``python -m helpers serve``, and a
    flag takes precedence. An option that is on by default is turned off by ``--no-<name>`` or
    ``SHOP_<NAME>=off``. All times are in seconds.
    """

    #: A token is never a flag: other users could read it in the list of processes.
    token: str = _option(
        "", "bearer token for writes; if empty, one is generated", flag=False, shown=False
    )
    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(8000, "port to listen on; 0 takes any free port")
    read_model: bool = _option(False, "serve the list of all products from the read model")
    lab: bool = _option(False, "add a route for each join strategy, for measurements")
    client_timeout: float = _option(10.0, "time for a client to send a request's head or body")
    deadline: float = _option(5.0, "time until every response has started")
    breaker: bool = _option(True, "stop sending requests to a store after repeated failures")
    relay: bool = _option(True, "carry the outbox of orders to MongoDB in the background")

    # Intervals that only tests change: how long a circuit stays open, and how often the
    # background workers refresh the views and carry the outbox.
    breaker_pause: float = 2.0
    view_interval: float = 0.1
    relay_interval: float = 0.5

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Return the options in ``given``, completed from ``environ`` and from the defaults.

        ``environ`` defaults to the process's environment. Raises ``SettingsError`` if a variable
        is malformed.
        """
        environ = os.environ if environ is None else environ
        values = dict(given)
        for option in _options(cls):
            variable = variable_name(option)
            text = environ.get(variable, "")
            if not text or option.name in given:
                continue
            try:
                values[option.name] = _parse(option, text)
            except ValueError as error:
                raise SettingsError(f"{variable} {error}: correct it, or unset it.") from None
        return cls(**values)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option. A flag that is not given is not in the parsed namespace."""
    for option in _options(ServeOptions):
        if not option.metadata["flag"]:
            continue
        name = option.name.replace("_", "-")
        variable, text = variable_name(option), option.metadata["help"]
        more: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
        if isinstance(option.default, bool):
            off = "no-" if option.default else ""
            value = "off" if option.default else "on"
            action = "store_false" if option.default else "store_true"
            text = f"do not {text}" if option.default else text
            parser.add_argument(
                f"--{off}{name}", action=action, help=f"{text} ({variable}={value})", **more
            )
        else:
            parser.add_argument(
                f"--{name}",
                type=argument_type(functools.partial(_parse, option)),
                metavar="SECONDS" if isinstance(option.default, float) else name.upper(),
                help=f"{text} (default: {option.default}; {variable})",
                **more,
            )


def given_flags(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given as flags."""
    names = {option.name for option in _options(ServeOptions)}
    return {name: value for name, value in vars(namespace).items() if name in names}


def variable_name(option: dataclasses.Field[Any]) -> str:
    """Return the name of the environment variable of an option."""
    return f"SHOP_{option.name.upper()}"


def _options(options: type[ServeOptions]) -> list[dataclasses.Field[Any]]:
    return [option for option in dataclasses.fields(options) if option.metadata]


def argument_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``parse`` as the ``type`` of an argument: argparse shows the text of its errors."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _parse(option: dataclasses.Field[Any], text: str) -> Any:
    """Return the value of an option. Raises ``ValueError`` with the end of a sentence."""
    match option.default:
        case bool():
            return _switch(text)
        case int():
            return whole_number(text)
        case float():
            return seconds(text)
    return _token(text) if option.name == "token" else text


def _switch(text: str) -> bool:
    if text.lower() not in {"on", "off"}:
        raise ValueError(f"is {text!r:.40}, which is neither on nor off")
    return text.lower() == "on"


def whole_number(text: str) -> int:
    """Return the number in ``text``. Raises ``ValueError`` if it is not 0 or more."""
    if not text.isdecimal():
        raise ValueError(f"{text!r:.40} is not a whole number, 0 or more")
    return int(text)


def seconds(text: str) -> float:
    """Return the seconds in ``text``. Raises ``ValueError`` if they are not above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= _MAX_SECONDS:  # nan compares with nothing
        raise ValueError(f"{text!r:.40} is not a number of seconds above 0, up to {_MAX_SECONDS}")
    return found


def _token(text: str) -> str:
    if len(text) < _MIN_TOKEN_LENGTH or not text.isascii() or not text.isprintable():
        raise ValueError(f"must be {_MIN_TOKEN_LENGTH} or more printable ASCII characters")
    return text
