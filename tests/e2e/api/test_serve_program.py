"""``python -m helpers serve`` and ``uvicorn helpers.api:app``: start, refusals, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

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
from tests.api.test_product_routes import assert_problem
from tests.waiting import wait_until

pytestmark = pytest.mark.by_address

_ADDRESS = "The shop is at "
_TOKEN = "Token for writes: "
ORDER = {"product_id": 1, "quantity": 1, "customer_id": 7}


@pytest.fixture
def serving_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a command fail that should have been refused: otherwise it would serve forever."""

    async def fail(*_: object) -> None:
        raise AssertionError("this was not refused")

    monkeypatch.setattr(serve, "run_server", fail)


def _refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what the command line prints instead of serving."""
    try:
        code = commands.main(["serve", *options])
    except SystemExit as exit_:  # raised by argparse
        assert isinstance(exit_.code, int)
        code = exit_.code
    assert code == 2
    return capsys.readouterr().err


@contextlib.contextmanager
def _running(shop: Stores, *command: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        env={**os.environ, **environment_of(shop), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_serve_prints_token_and_address_and_stops_at_sigint(shop: Stores) -> None:
    """``tests/api`` tests the responses; this test starts the program as a user does."""
    with _running(shop, "helpers", "serve", "--port", "0", SHOP_TOKEN="") as process:
        assert process.stdout is not None
        token_line, address_line = process.stdout.readline(), process.stdout.readline()
        assert token_line.startswith(_TOKEN)
        token = token_line.removeprefix(_TOKEN).strip()
        assert address_line.startswith(f"{_ADDRESS}http://127.0.0.1:")
        url = address_line.removeprefix(_ADDRESS).strip()
        products = httpx.get(f"{url}api/products", headers={"X-Request-ID": "logged"}).json()
        assert [product["id"] for product in products] == list(range(1, COUNT + 1))
        assert_problem(httpx.get(f"{url}lab/products/batched"), 404, "not-found")
        assert_problem(httpx.post(f"{url}api/orders", json=ORDER), 401, "unauthorized")
        headers = {"Authorization": f"Bearer {token}"}
        placed = httpx.post(f"{url}api/orders", json=ORDER, headers=headers, timeout=60)
        assert placed.status_code == 201
        process.send_signal(signal.SIGINT)
        printed, log = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert "logged" in {line.get("request_id") for line in lines}
    assert token not in log


def test_uvicorn_serves_the_same_application(shop: Stores) -> None:
    """Its options come from the environment, and its lifespan opens and closes the stores."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    token = "t" * 16
    command = ("uvicorn", "helpers.api:app", "--port", str(port))
    protocol = ("--http", "helpers.api.client_timeouts:SlowClientProtocol")
    with _running(shop, *command, *protocol, SHOP_TOKEN=token, SHOP_LAB="on") as process:

        def is_up() -> bool:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{url}/healthz").is_success
            return False

        wait_until(is_up)
        products = httpx.get(f"{url}/api/products").json()
        assert [product["id"] for product in products] == list(range(1, COUNT + 1))
        assert httpx.get(f"{url}/lab/products/batched").json() == products
        assert_problem(httpx.post(f"{url}/api/orders", json=ORDER), 401, "unauthorized")
        headers = {"Authorization": f"Bearer {token}"}
        placed = httpx.post(f"{url}/api/orders", json=ORDER, headers=headers, timeout=60)
        assert placed.status_code == 201
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert "Application shutdown complete" in log


@pytest.mark.usefixtures("serving_fails")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "a number from 0 to 65535"),
        (["--port", "-1"], "not a whole number"),
        (["--host", "nowhere.invalid"], "There is no address 'nowhere.invalid'"),
        (["--client-timeout", "0"], "not a number of seconds above 0"),
        (["--deadline", "nan"], "not a number of seconds above 0"),
    ],
)
def test_an_invalid_flag_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert words in _refusal(capsys, *options)


@pytest.mark.usefixtures("serving_fails")
def test_a_port_in_use_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], service: ServiceProcess
) -> None:
    port = service.url.rpartition(":")[2]
    assert f"Port {port} of 127.0.0.1" in _refusal(capsys, "--port", port)


@pytest.mark.usefixtures("serving_fails")
@pytest.mark.parametrize(
    "token", ["short", "with a \t tab in it", "not ASCII: \xe9\xe9\xe9\xe9\xe9"]
)
def test_an_invalid_token_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", token)
    assert "SHOP_TOKEN must be 16 or more" in _refusal(capsys, "--port", "0")


@pytest.mark.verify
def test_served_raises_the_reason_if_the_program_does_not_start(shop: Stores) -> None:
    with (
        pytest.raises(ServerError, match="SHOP_TOKEN must be 16 or more"),
        start_service(shop, environ={"SHOP_TOKEN": "short"}),
    ):
        pass
