"""Storages beyond a file: what is said when they cannot be reached, and the real ones where this machine has them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from random_problems import random_problem

from exitsearch.errors import ExitSearchError, InputError, UnavailableError
from exitsearch.search.study import run_study, storage
from exitsearch.search.study.shared import run_trials

PROBLEM = replace(random_problem(10, policy="interruptible"), max_exits=None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("address", ["grpc://nowhere", "grpc://:13000", "grpc://host:port", "grpc://host:1/path"])
def test_an_address_that_is_none_is_said(address: str) -> None:
    with pytest.raises(InputError, match="grpc://HOST:PORT, found"):
        run_study(PROBLEM, trials=1, storage=address)


def test_a_proxy_needs_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(storage, "import_module", missing)
    with pytest.raises(UnavailableError, match="needs the packages grpcio and protobuf"):
        run_study(PROBLEM, trials=1, storage="grpc://localhost:13000")


def test_a_database_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(UnavailableError, match="needs a package that is not installed") as caught:
        run_study(PROBLEM, trials=1, storage="mysql+pymysql://me:secret@localhost/studies")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql+psycopg://me:se/cret@host:5432/one", "postgresql+psycopg://me:***@host:5432/one"),
        ("postgresql://me@host/one", "postgresql://me@host/one"),
        ("sqlite:///one.db", "sqlite:///one.db"),
        ("grpc://host:1", "grpc://host:1"),
    ],
)
def test_passwords_are_not_shown(url: str, text: str) -> None:
    assert storage.shown(url) == text


def test_a_storage_that_fails_in_the_middle_is_one_sentence() -> None:
    study = optuna.create_study()

    def broken(trial: optuna.Trial) -> float:
        if trial.number == 2:
            raise StorageInternalError("commit failed") from ConnectionError("server closed the connection\nmore")
        return 1.0

    with pytest.raises(ExitSearchError, match=r"failed \(server closed the connection\); run the same command again"):
        run_trials(study, broken, trials=5)
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 2


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """The address of a gRPC proxy before a SQLite file."""
    for package in ("grpc", "google.protobuf"):
        pytest.importorskip(package, reason="Optuna's gRPC proxy needs grpcio and protobuf")
    port = free_port()
    server = import_module("optuna.storages._grpc.server").make_server(
        optuna.storages.get_storage(f"sqlite:///{tmp_path}/one.db"), "127.0.0.1", port, ThreadPoolExecutor(2)
    )
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_study_behind_a_proxy(proxy: str, tmp_path: Path) -> None:
    assert run_study(PROBLEM, trials=4, seed=5, storage=proxy).trials == 4
    assert run_study(PROBLEM, trials=7, seed=5, storage=proxy).trials == 7
    direct = run_study(PROBLEM, trials=7, seed=5, storage=f"sqlite:///{tmp_path}/one.db")
    alone = run_study(PROBLEM, trials=7, seed=5)
    assert (direct.trials, direct.choice, direct.value) == (7, alone.choice, alone.value)


def test_a_proxy_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc", reason="Optuna's gRPC proxy needs grpcio")
    monkeypatch.setattr(storage, "_PROXY_ANSWERS_S", 0.05)
    with pytest.raises(UnavailableError, match="no gRPC proxy answers at 127"):
        run_study(PROBLEM, trials=1, storage=f"grpc://127.0.0.1:{free_port()}")


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs the driver psycopg")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("no PostgreSQL server (initdb, pg_ctl) on this machine")
    data, port = tmp_path / "data", free_port()
    made = subprocess.run(["initdb", "-D", data, "-A", "trust", "-U", "me"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"initdb: {made.stderr.strip().splitlines()[0]}")  # it refuses to run as root
    options = f"-p {port} -k {tmp_path} -c listen_addresses=127.0.0.1 -c fsync=off"
    server = ["pg_ctl", "-D", str(data), "-l", str(tmp_path / "log"), "-w"]
    subprocess.run([*server, "-o", options, "start"], check=True, capture_output=True)
    yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    subprocess.run([*server, "-m", "immediate", "stop"], check=True, capture_output=True)


def test_a_study_in_postgresql(postgresql: str) -> None:
    assert run_study(PROBLEM, trials=4, seed=5, storage=postgresql).trials == 4
    found, alone = run_study(PROBLEM, trials=7, seed=5, storage=postgresql), run_study(PROBLEM, trials=7, seed=5)
    assert (found.trials, found.choice, found.value) == (7, alone.choice, alone.value)
