"""A study in PostgreSQL: a server of this test's own, that goes away and comes back."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from engine.errors import InputError
from orchestrator.planning.job import Job
from orchestrator.planning.search import Search
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import finish, searching, storm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pg_ctl") is None, reason="no PostgreSQL server is installed"),
]


class Server:
    """PostgreSQL in a folder, on a port of its own; it refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "data", folder / "log"
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(folder, self.user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"
        self._call("initdb", "--auth=trust", "--no-sync")
        self.start()

    def start(self) -> None:
        """Begin to answer."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._call("pg_ctl", "start", "--wait", "--log", str(self.log), "--options", options)

    def stop(self) -> None:
        """Go away, as when its machine does."""
        self._call("pg_ctl", "stop", "--mode=immediate")

    def _call(self, program: str, *words: str) -> None:
        user = self.user if os.getuid() == 0 else None
        command = [program, "--pgdata", str(self.folder), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/", timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # pytest's own folders are closed to the user that the server may have to be
    with tempfile.TemporaryDirectory(prefix="perturb-postgresql-") as folder:
        found = Server(Path(folder))
        yield found
        found.stop()


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Drivers leave their connections to the end of the process; here they are closed with the test."""
    made: list[optuna.storages.RDBStorage] = []

    class Storage(optuna.storages.RDBStorage):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            made.append(self)

    monkeypatch.setattr(optuna.storages, "RDBStorage", Storage)
    yield
    for one in made:
        one.remove_session()
        one.engine.dispose()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def test_a_study_killed_and_continued(ledger: Ledger, server: Server) -> None:
    """100 cells exactly, though the driver dies with 16 asks in flight; a dashboard sees each once."""
    sweep = searching(100, sampler={"storage": server.url}, name="storm")
    first = storm(Search(sweep, ledger), ledger, flight=16, at_most=60)
    second = storm(Search(sweep, ledger), ledger, flight=16)
    assert len({job.cell for job in (*first, *second)}) == 100
    seen = optuna.load_study(study_name="storm", storage=optuna.storages.RDBStorage(server.url))
    trials = seen.trials
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len({trial.user_attrs["cell"] for trial in done}) == len(done) == 100


def test_a_server_that_goes_away_costs_no_cell(ledger: Ledger, server: Server) -> None:
    search = Search(searching(6, sampler={"storage": server.url}, name="away"), ledger)
    jobs, said = list[Job](), list[str]()
    while not search.exhausted:
        try:
            job = search.next()
        except OSError as error:
            said.append(str(error))
            server.start()
            continue
        assert job is not None
        if len(jobs) == 2:
            server.stop()
        jobs.append(job)
        finish(search, job, ledger)
    assert said
    assert all(line.startswith("the study's storage: ") and "\n" not in line for line in said)
    assert len({job.cell for job in jobs}) == len(jobs) == 6
    assert [trial.state.name for trial in search.study.trials].count("COMPLETE") == 6


def test_a_database_that_does_not_answer_is_one_line(ledger: Ledger) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://anna:secret@127.0.0.1:{closed.getsockname()[1]}/studies"
        with pytest.raises(InputError, match=r"sampler\.storage: .*a database that answers") as caught:
            Search(searching(2, sampler={"storage": url}), ledger)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
