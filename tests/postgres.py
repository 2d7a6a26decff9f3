"""A real PostgreSQL, from the system's packages, in a folder of its own and on this machine's loopback alone."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import free_port

try:
    import psycopg
except ImportError:  # the extra `postgres`
    psycopg = None  # type: ignore[assignment]

USER, PASSWORD = "astronomer", "a-secret"
LOGIN = {"PGPASSWORD": PASSWORD}  # of the environment
_START = "-c fsync=off -c max_connections=200"  # what a kill of its processes leaves is whole without fsync, too


def why_not() -> str | None:
    """Return why no server can be started here; None where one can."""
    if psycopg is None:
        return "needs astroclf's extra `postgres`"
    if _programs() is None:
        return "needs PostgreSQL's server (Debian: apt install postgresql)"
    if os.geteuid() == 0 and (_other_user() is None or shutil.which("setpriv") is None):
        return "PostgreSQL refuses to be run by root, and there is no other user or no setpriv"
    return None


def _programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, of the newest version."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return next((path for path in found if (path / "initdb").exists()), None)


def _other_user() -> pwd.struct_passwd | None:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names.get("nobody")


class PostgresServer:
    """A server that can be stopped, killed and started again; its databases are made one for each use.

    Parameters
    ----------
    address
        Where it listens, beside its socket.
    inside
        Words before each of its commands, such as `ip netns exec NAME`.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> None:
        self.folder, self.address, self.port = folder, address, free_port()
        self._words = list(inside)
        if os.geteuid() == 0:
            other = _other_user()
            assert other is not None
            os.chown(folder, other.pw_uid, other.pw_gid)
            self._words += ["setpriv", f"--reuid={other.pw_uid}", f"--regid={other.pw_gid}", "--clear-groups"]
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret), "-N"
        )
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\n")

    def _run(self, program: str, *words: str) -> None:
        programs = _programs()
        assert programs is not None
        done = subprocess.run(
            [*self._words, str(programs / program), *words], cwd=self.folder, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, start_new_session=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses={self.address} -c unix_socket_directories={self.folder} {_START}"
        log = str(self.folder / "server.log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: ``fast`` ends sessions in order, ``immediate`` as a crash would."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", how, "-w", "stop")

    def uri(self, database: str) -> str:
        """Return an address without the password, which `LOGIN` has: what is typed is recorded."""
        return f"postgresql+psycopg://{USER}@{self.address}:{self.port}/{database}"

    def ask(self, question: str, database: str = "postgres") -> list[tuple]:
        """Put a question to it through its socket, which network namespaces share."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        ) as connection:
            answer = connection.execute(question)
            return answer.fetchall() if answer.description else []

    def new_database(self) -> str:
        """Make an empty database, and return its address."""
        name = f"test_{secrets.token_hex(4)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.uri(name)


@contextmanager
def running_server(address: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> Iterator[PostgresServer]:
    """Run a server for a block, in a folder for temporary files that its user can reach; pytest's cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="astroclf-postgres-"))
    try:
        server = PostgresServer(folder, address, inside)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)
