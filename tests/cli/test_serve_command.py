"""`exitsearch serve` as a user calls it: what it prints, an answered request, and one sentence for what is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.cli.main import main


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("serve") / "tiny").path


def test_it_serves_until_it_is_told_to_end(bundle):
    program = [sys.executable, "-m", "exitsearch", "serve", str(bundle), "--port", "0", "--budget-ms", "2500"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            first, second = process.stdout.readline(), process.stdout.readline()
            assert "(tiny, onnx fp32, 3 exits, budgets from " in first
            assert "2500 ms where a request names none), 1 worker" in re.sub(r"\d+ workers", "1 worker", first)
            url = re.search(r"http://127\.0\.0\.1:\d+", second).group()
            request = urllib.request.Request(
                f"{url}/predict", data=bytes(768), headers={"Content-Type": "application/octet-stream"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                found = json.load(response)
            assert (found["status"], found["budget_ms"]) == ("ok", 2500.0)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "65536"], "a port is a number from 0 to 65535, found 65536"),
        (["--host", "no such host"], "cannot listen at 'no such host"),
        (["--budget-ms", "0"], "the budget must be a number of ms above 0"),
        (["--quantile", "0.8"], "quantile must be one of 0.5, 0.9 and 0.99, found 0.8"),
        (["--threads", "5000"], "threads must be a whole number from 1 to 1024, found 5000"),
        (["--workers", "5000"], "workers must be a whole number from 1 to 1024, found 5000"),
        (["--max-body", "99999999999"], "body_bytes must be a whole number from 1"),
    ],
)
def test_a_wrong_option_is_one_sentence(bundle, capsys, options, words):
    port = [] if "--port" in options else ["--port", "0"]
    assert main(["serve", str(bundle), *port, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_a_folder_that_is_no_bundle_is_one_sentence(tmp_path, capsys):
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "bundle.json" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(bundle, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["serve", str(bundle), "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "serving needs prometheus_client (metrics)" in error
    assert "pip install 'exitsearch[serve]'" in error
