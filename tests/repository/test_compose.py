"""docker-compose.yml is valid, bound to the loopback address, and complete."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from ruamel.yaml import YAML

from helpers.settings import PROJECT, load_settings
from tests.repository.schemas import exit_code

FILE = PROJECT / "docker-compose.yml"
POSTGRES = ("coordinator", "worker1", "worker2", "worker3")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded = YAML(typ="safe").load(FILE)
    found: dict[str, Any] = loaded["services"]
    return found


def test_it_is_valid_by_the_compose_specification(tmp_path: Path) -> None:
    assert exit_code(FILE, "compose-spec") == 0
    broken = tmp_path / "broken.yml"
    broken.write_text(FILE.read_text("utf-8").replace("image:", "picture:"), "utf-8")
    assert exit_code(broken, "compose-spec") == 1, "the validation finds no error"


def test_images_have_the_versions_that_the_course_supports(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    assert images == dict.fromkeys((*POSTGRES, "register"), "citusdata/citus:14.1.0") | {
        "mongo": "mongo:8",
        "redis": "redis:8",
    }


def test_every_port_is_bound_to_the_loopback_address(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), name
    for name in (*POSTGRES, "mongo", "redis"):
        assert services[name]["ports"], f"{name} cannot be reached"


def test_every_server_has_a_fixed_name_a_health_check_and_a_volume(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["container_name"] == f"shop-{name}"
        if name != "register":
            assert service["healthcheck"]["test"]
            assert service["volumes"]


def test_volumes_are_mounted_where_the_postgres_18_image_expects_them(
    services: dict[str, Any],
) -> None:
    for name in POSTGRES:
        assert services[name]["volumes"] == [f"{name}:/var/lib/postgresql"]


def test_the_workers_are_registered_once_all_nodes_are_healthy(services: dict[str, Any]) -> None:
    register = services["register"]
    conditions = {name: d["condition"] for name, d in register["depends_on"].items()}
    assert conditions == dict.fromkeys(("coordinator", "worker1", "worker2"), "service_healthy")
    statements = " ".join(register["command"])
    for call in ("citus_set_coordinator_host('coordinator'", "'worker1'", "'worker2'"):
        assert call in statements
    assert register["restart"] == "no"


def test_the_third_worker_starts_only_with_its_profile(services: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert {name for name, profile in profiles.items() if profile} == {"worker3"}


def test_make_starts_and_stops_all_services(services: dict[str, Any]) -> None:
    """The third worker's profile is used if requested, and always to stop everything."""

    def commands(*target: str) -> list[str]:
        command = ["make", "--dry-run", "--always-make", "--old-file=.env", *target]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line.startswith("docker compose")]

    with_third = f"docker compose --profile {services['worker3']['profiles'][0]}"
    assert not any(line.startswith(with_third) for line in commands("docker-up"))
    assert commands("docker-up", "WORKERS=3")[-1] == f"{with_third} up --detach --wait worker3"
    assert commands("docker-down") == [f"{with_third} down"]


def test_no_password_is_in_the_file(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert value.startswith("${"), name


def test_env_example_has_the_address_of_every_server(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses of the example are the ports that the compose file publishes."""
    values = dotenv_values(PROJECT / ".env.example")
    for name in re.findall(r"\$\{(\w+)[:}]", FILE.read_text("utf-8")):
        assert values[name] == "change-me"
    addresses = load_settings({}, dotenv=PROJECT / ".env.example").addresses
    assert addresses is not None
    urls = {
        "coordinator": addresses.coordinator,
        "mongo": addresses.mongo,
        "redis": addresses.redis,
        **{f"worker{n}": url for n, url in enumerate(addresses.workers, start=1)},
    }
    assert set(urls) == {*POSTGRES, "mongo", "redis"}
    for name, url in urls.items():
        published = services[name]["ports"][0].rpartition(":")[0]
        assert f":change-me@{published}/" in url
