"""The commands of ``python -m helpers``, with servers given by address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.cli.commands import main
from helpers.joins import batched
from helpers.settings import PROJECT
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from tests.command_line import run_main
from tests.contents import collections_of, keys_of
from tests.joins.test_plain_joins import ORIGINALS

pytestmark = pytest.mark.by_address


def _run_process(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def environ(shop: Stores) -> dict[str, str]:
    """The environment of a command that uses ``shop``, which has tables without rows."""
    return {**os.environ, **environment_of(shop)}


def test_seed_fills_the_shop_and_products_lists_it(
    shop_environ: dict[str, str], stores: Stores
) -> None:
    seeded = _run_process(shop_environ, "seed", "--products", "12")
    assert (seeded.returncode, seeded.stdout) == (
        0,
        "Written: 12 products, 12 metadata, 12 stock counts, 36 orders.\n",
    )
    assert "100%" in seeded.stderr, "there is a progress bar"
    listed = run_main(shop_environ, "products", "--json")
    assert listed.returncode == 0
    products = json.loads(listed.stdout)
    assert len(products) == 12
    assert products[:3] == ORIGINALS
    assert products == batched(stores)
    table = run_main(shop_environ, "products").stdout.splitlines()
    assert len(table) == 12
    assert table[0].split() == ["1", "Laptop", "A", "1200", "15", "electronics,", "laptop"]


def test_seed_if_empty_does_nothing_if_there_are_products(
    environ: dict[str, str], shop: Stores
) -> None:
    assert run_main(environ, "seed", "--products", "4", "--if-empty").returncode == 0
    shop.redis.set("stock:1", "1")
    again = run_main(environ, "seed", "--products", "4", "--if-empty")
    assert again.stdout == "The shop has 4 products already.\n"
    assert shop.redis.get("stock:1") == "1", "the student's change stays"


def test_names_with_control_characters_do_not_reach_the_terminal(
    environ: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "names.jsonl"
    product = {
        "id": 1,
        "name": "red\x1b[31m\r\nnext",
        "price": 1,
        "metadata": {"tags": ["a\u00a0b"]},
    }
    file.write_text(json.dumps(product))
    assert run_main(environ, "seed", "--file", str(file)).returncode == 0
    (line,) = run_main(environ, "products").stdout.splitlines()
    assert "red\ufffd[31m\ufffd\ufffdnext" in line


def test_a_command_runs_without_standard_output(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POSTGRES_URL", "POSTGRES_WORKER_URLS", "MONGO_URL", "REDIS_URL"):
        monkeypatch.setenv(name, environ[name])
    monkeypatch.setattr(sys, "stdout", None)  # as Python does if a shell has closed it
    assert main(["status"]) == 0


@pytest.mark.parametrize("run", [run_main, pytest.param(_run_process, marks=pytest.mark.verify)])
def test_products_of_an_empty_shop_is_an_error(
    environ: dict[str, str], run: Callable[..., Any]
) -> None:
    listed = run(environ, "products", "--json")
    assert (listed.returncode, listed.stdout) == (2, "")
    assert "python -m helpers seed" in listed.stderr


def test_seed_loads_a_catalogue_file(environ: dict[str, str], shop: Stores, tmp_path: Path) -> None:
    file = tmp_path / "catalog.jsonl"
    lines = [
        {"id": 50, "name": "Desk", "price": "99.90", "category": "furniture", "stock": "5"}
        | {"metadata": {"description": "A desk", "reviews": [1, 2]}},
        {"id": 51, "name": "Chair", "price": 20, "metadata": None, "stock": None},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_main(environ, "seed", "--file", str(file)).returncode == 0
    assert batched(shop) == [
        {"id": 50, "name": "Desk", "price": "99.90"}
        | {"metadata": {"description": "A desk", "reviews": [1, 2]}, "stock": "5"},
        {"id": 51, "name": "Chair", "price": "20", "metadata": None, "stock": None},
    ]


def test_an_invalid_catalogue_file_loads_nothing(
    shop_environ: dict[str, str], stores: Stores, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.jsonl"
    file.write_text('{"id": 1, "name": "A", "price": 1}\n{"id": 2, "name": "B", "price": -1}\n{\n')
    loaded = run_main(shop_environ, "seed", "--file", str(file))
    assert loaded.returncode == 2
    assert "line 2: price: should be greater than or equal to 0, not" in loaded.stderr
    assert "line 3: line: is not JSON" in loaded.stderr
    assert keys_of(stores) == []
    assert collections_of(stores) == []


def test_reconcile_reports_what_it_repaired(environ: dict[str, str], shop: Stores) -> None:
    empty = run_main(environ, "reconcile")
    assert empty.returncode == 2
    assert "The shop has no products" in empty.stderr
    seed(shop, 3)
    shop.redis.set("stock:1", 99)
    shop.mongo.sales.delete_many({})
    first = run_main(environ, "reconcile").stdout
    assert "product 1: was 99, set to 15" in first
    assert "The sales of 2 products examined, 2 differences" in first
    again = run_main(environ, "reconcile").stdout
    assert again == (
        "3 products and 0 reservations examined: ledger, stock and reservations agree.\n"
        "The sales of 2 products examined: they agree with the orders.\n"
    )
    assert shop.redis.get("stock:1") == "15"


def test_status_shows_every_store(environ: dict[str, str], shop: Stores) -> None:
    shown = run_main(environ, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert set(status) == {"postgres", "mongo", "redis"}
    assert set(status["postgres"]) == {"engine", "version", "coordinator", "workers"}
    assert set(status["mongo"]) == set(status["redis"]) == {"engine", "version", "url"}
    assert status["postgres"]["coordinator"] == environ["POSTGRES_URL"]
    assert len(status["postgres"]["workers"]) >= 2
    for url in (environ["MONGO_URL"], status["postgres"]["workers"][0]):
        password = url.split("@")[0].rpartition(":")[2]
        assert password not in run_main(environ, "status").stdout


def test_url_prints_one_address(environ: dict[str, str]) -> None:
    assert run_main(environ, "url", "redis").stdout.strip() == environ["REDIS_URL"]
    unknown = run_main(environ, "url", "nosuch")
    assert unknown.returncode == 2
    assert "coordinator, worker1, worker2" in unknown.stderr


def test_reset_by_address_drops_only_the_shop(shop_environ: dict[str, str], stores: Stores) -> None:
    run_main(shop_environ, "seed", "--products", "3")
    stores.redis.set("other", "1")
    assert run_main(shop_environ, "reset").returncode == 0
    assert keys_of(stores) == ["other"]
    assert collections_of(stores) == []
    assert stores.postgres.execute("SELECT to_regclass('products')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("change", "arguments", "expected"),
    [
        ({"REDIS_URL": ""}, ["products"], "REDIS_URL is not"),
        ({"MONGO_URL": "mongodb://127.0.0.1:1/x"}, ["status"], "MongoDB at mongodb://127.0.0.1:1"),
        ({"REDIS_URL": "redis://:s3cret@127.0.0.1:1/0"}, ["seed"], "nobody listens there"),
        ({"POSTGRES_URL": "nonsense"}, ["up"], "POSTGRES_URL is not an address"),
        ({}, ["down"], "not ours to stop"),
        ({}, ["up", "--workers", "3"], "can be chosen only where the course starts its own"),
        ({}, ["seed", "--file", "no-such-file.jsonl"], "cannot be read"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_2(
    change: dict[str, str],
    arguments: list[str],
    expected: str,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # MongoDB's driver retries until its timeout.
    monkeypatch.setattr("helpers.stores.connect.TIMEOUT_SECONDS", 1)
    done = run_main(environ | change, *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_error_of_a_driver_names_the_store(shop_environ: dict[str, str], stores: Stores) -> None:
    """One sentence names the store, whatever its driver raises during the work."""
    stores.postgres.execute("CREATE TABLE products (id text)")
    failed = run_main(shop_environ, "seed", "--products", "3")
    assert failed.returncode == 2
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("PostgreSQL at postgresql://")
    assert "it stopped the work (" in last
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("count", ["-1", "many", "1.5"])
def test_an_invalid_count_is_refused(count: str, environ: dict[str, str]) -> None:
    done = run_main(environ, "seed", "--products", count)
    assert done.returncode == 2
    assert "--products" in done.stderr
