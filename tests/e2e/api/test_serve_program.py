"""The program ``python -m helpers serve``: what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import httpx
import pytest

from helpers.api import serve
from helpers.cli import commands
from helpers.errors import ServerError
from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from tests.api.conftest import COUNT
from tests.api.test_product_routes import _problem

pytestmark = pytest.mark.by_address

_SAYS = "The shop is at "
_PRINTS = "Token for writes: "


@pytest.fixture
def nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ought to be refused, and is not, fails its test: it would serve for ever."""

    async def serve_nothing(*_: object) -> None:
        raise AssertionError("this is not refused")

    monkeypatch.setattr(serve, "_serve", serve_nothing)


def _refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what the command line says instead of serving."""
    try:
        code = commands.main(["serve", *options])
    except SystemExit as ended:  # by the parser of the arguments
        assert isinstance(ended.code, int)
        code = ended.code
    assert code == 2
    return capsys.readouterr().err


def test_it_says_where_it_is_prints_a_token_and_ends_by_a_signal(shop: Stores) -> None:
    """Its answers are those of ``test_contract.py``; here it is started as anybody would."""
    with subprocess.Popen(
        [sys.executable, "-m", "helpers", "serve", "--port", "0"],
        cwd=PROJECT,
        env={**os.environ, **environment_of(shop), serve.TOKEN_VARIABLE: ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address, printed = process.stdout.readline(), process.stdout.readline()
            assert address.startswith(f"{_SAYS}http://127.0.0.1:")
            assert printed.startswith(_PRINTS)
            token = printed.removeprefix(_PRINTS).strip()
            url = address.removeprefix(_SAYS).strip()
            products = httpx.get(f"{url}api/products", headers={"X-Request-ID": "logged"}).json()
            assert [one["id"] for one in products] == list(range(1, COUNT + 1))
            _problem(httpx.get(f"{url}lab/products/batched"), 404, "not-found")
            order = {"product_id": 1, "quantity": 1, "customer_id": 7}
            _problem(httpx.post(f"{url}api/orders", json=order), 401, "no-token")
            writing = {"Authorization": f"Bearer {token}"}
            placed = httpx.post(f"{url}api/orders", json=order, headers=writing, timeout=60)
            assert placed.status_code == 201
            process.send_signal(signal.SIGINT)
            said, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, "")
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert "logged" in {line.get("request_id") for line in lines}
    assert token not in log


@pytest.mark.usefixtures("nothing_is_served")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "a number from 0 to 65535"),
        (["--port", "-1"], "not a whole number"),
        (["--host", "nowhere.invalid"], "There is no address 'nowhere.invalid'"),
        (["--patience", "0"], "no number of seconds above 0"),
        (["--deadline", "nan"], "no number of seconds above 0"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert words in _refused(capsys, *options)


@pytest.mark.usefixtures("nothing_is_served")
def test_a_port_that_is_in_use_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], service: ServiceProcess
) -> None:
    port = service.url.rpartition(":")[2]
    assert f"Port {port} of 127.0.0.1" in _refused(capsys, "--port", port)


@pytest.mark.usefixtures("nothing_is_served")
@pytest.mark.parametrize(
    "token", ["short", "with a \t tab in it", "not ASCII: \xe9\xe9\xe9\xe9\xe9"]
)
def test_a_token_that_is_none_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(serve.TOKEN_VARIABLE, token)
    assert "SHOP_TOKEN must be 16 or more" in _refused(capsys, "--port", "0")


@pytest.mark.verify
def test_in_the_background_one_that_cannot_start_says_why(shop: Stores) -> None:
    with (
        pytest.raises(ServerError, match="SHOP_TOKEN must be 16 or more"),
        start_service(shop, environ={"SHOP_TOKEN": "short"}),
    ):
        pass
