"""The servers of one submission: a copy of servers that were prepared once, in a sandbox.

The students and the tests use PostgreSQL as a role that may do with its own tables what it likes,
but may not change the cluster's functions or start programs. The servers see neither files nor the
network.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

from helpers.errors import ServerError
from helpers.settings import Addresses, load_settings

_DATA_MIB = 1024
_TEMPLATE = "/template"
_ROLE = "student"

# The network is the submission's, so the password need not be secret.
_CREATE_ROLE = f"CREATE ROLE {_ROLE} LOGIN PASSWORD '{_ROLE}'"
_ON_WORKER = f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {_ROLE}"
# run_command_on_shards and the functions like it log in to the workers: for the role, as the role.
_ON_COORDINATOR = """
GRANT CREATE ON SCHEMA public TO student;
ALTER FUNCTION sharding.conninfo(text, int) RENAME TO creators_conninfo;
CREATE FUNCTION sharding.conninfo(host text, port int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE session_user
        WHEN 'student' THEN replace(sharding.creators_conninfo(host, port),
            format('user=%L', current_user), 'user=student password=student')
        ELSE sharding.creators_conninfo(host, port) END
$$;
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT oid
        FROM pg_proc
        WHERE proname LIKE 'run_command_on_%'
    LOOP
        EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER', routine);
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO student', routine);
    END LOOP;
END $$
"""


@contextlib.contextmanager
def prepared_servers() -> Iterator[Path]:
    """Prepare servers with the project's databases, and yield the folder with their data.

    Raises ``ServerError``.
    """
    from course.grading.sandbox import Sandbox
    from helpers.embedded.temporary_servers import temporary_folder

    with temporary_folder("course-graded-") as folder:
        folder.chmod(0o777)  # its parent is closed to others
        inside = f"{_TEMPLATE}/shop"
        started = Sandbox(_DATA_MIB, write={folder: _TEMPLATE})
        _talk(started.launch("course.grading.servers", [inside], stdin=-1, stdout=-1))
        yield folder


@contextlib.contextmanager
def graded_servers(prepared: Path, used: list[float]) -> Iterator[Addresses]:
    """Start a copy of the ``prepared`` servers, and yield their addresses.

    At the end, the processor time that they used is appended to ``used``.

    Raises ``ServerError``.
    """
    from course.grading.sandbox import Sandbox, end_sandbox

    sandbox = Sandbox(_DATA_MIB, network=True, read={prepared: _TEMPLATE})
    process = sandbox.launch("course.grading.servers", [], stdin=-1, stdout=-1)
    try:
        assert process.stdout is not None
        yield _addresses(process, process.stdout.readline())
    finally:
        used.append(end_sandbox(process))


def _talk(process: subprocess.Popen[bytes]) -> None:
    with process:
        output, _ = process.communicate()
    _addresses(process, output)


def _addresses(process: subprocess.Popen[bytes], line: bytes) -> Addresses:
    try:
        fields = json.loads(line)
    except ValueError:
        process.wait()
        raise ServerError(
            f"The servers for grading did not start (exit code {process.returncode}): try again."
        ) from None
    if "error" in fields:
        raise ServerError(f"The servers for grading did not start: {fields['error']}")
    names = tuple((host, port) for host, port in fields.pop("worker_names"))
    return Addresses(**{**fields, "workers": tuple(fields["workers"]), "worker_names": names})


def _prepare_databases(nodes: Sequence[str]) -> None:
    """Create the project's databases on these nodes, and the role. Genuine Citus has no role."""
    from course.marketplace import open_project
    from helpers.embedded import EmbeddedServers
    from helpers.stores.connect import connect_postgres

    with open_project() as stores:
        name = stores.mongo.name
    for number, url in enumerate([] if _is_genuine() else nodes):
        with connect_postgres(url, database=name) as connection:
            connection.execute(_CREATE_ROLE)
            connection.execute(_ON_WORKER if number else _ON_COORDINATOR)
    EmbeddedServers(load_settings()).down()


def _is_genuine() -> bool:
    return bool(os.environ.get("PG_BINDIR"))


def _as_role(url: str) -> str:
    """Return an address of PostgreSQL for the students' role."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{_ROLE}:{_ROLE}@{place}").geturl()


def main() -> int:
    """Start servers and print their addresses; stop them when standard input is closed.

    With an argument, prepare them in that folder and stop at once; without, start a copy.
    """
    from helpers.errors import CourseError
    from helpers.shop import locate

    prepare = sys.argv[1:]
    try:
        if prepare:
            os.environ["SHOP_HOME"] = prepare[0]
        else:
            shutil.copytree(f"{_TEMPLATE}/shop", os.environ["SHOP_HOME"], symlinks=True)
        addresses = locate(load_settings())
        if prepare:
            _prepare_databases([addresses.coordinator, *addresses.workers])
        elif not _is_genuine():
            workers = tuple(map(_as_role, addresses.workers))
            coordinator = _as_role(addresses.coordinator)
            addresses = replace(addresses, coordinator=coordinator, workers=workers)
        print(json.dumps(asdict(addresses)), flush=True)
    except (CourseError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    if not prepare:
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
