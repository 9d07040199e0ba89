"""How onnxruntime is brought in: quietly, late, and with a sentence where it is missing or too old."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from exitsearch.runtime import MissingError
from exitsearch.runtime.library import PROVIDER, load_onnxruntime, session_options


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_room_imports_neither_torch_nor_onnxruntime():
    modules = ["torch", "onnxruntime", "pydantic", "PIL", "scipy"]
    program = f"import exitsearch.runtime, sys; print([name for name in {modules} if name in sys.modules])"
    assert run(program) == "[]"


def test_telemetry_is_off_before_onnxruntime_is_imported(tiny):
    """And loading and answering print nothing: `run` looks at all of stdout."""
    program = f"""
import os, sys, threading, time
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
from exitsearch.runtime import load_bundle
import numpy as np
session = load_bundle({str(tiny.path)!r})
assert session.predict(np.zeros((3, 8, 8), dtype=np.float32)).status == "ok"
# A thread that loading has used may be on its way out still.
ends = time.monotonic() + 20
while len(os.listdir("/proc/self/task")) > 2 and time.monotonic() < ends:
    time.sleep(0.01)
print(os.environ["ORT_DISABLE_TELEMETRY"], len(os.listdir("/proc/self/task")))
"""
    flag, threads = run(program).split()
    assert flag == "1"
    # This thread, and at most the one of numpy's own library that is idle: none of onnxruntime's.
    assert int(threads) <= 2


def test_what_a_user_has_set_holds():
    program = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
from exitsearch.runtime.library import load_onnxruntime
load_onnxruntime()
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    assert run(program) == "0"


def test_a_missing_onnxruntime_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match=r"which is not installed here .*pip install 'onnxruntime>=1.24.1'"):
        load_onnxruntime()


def test_an_old_onnxruntime_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(SessionOptions=object, __version__="1.20.0"))
    with pytest.raises(MissingError, match=r"from 1.24.1 on, found 1.20.0"):
        load_onnxruntime()


def test_sessions_neither_spin_nor_keep_an_arena_of_their_own():
    library = load_onnxruntime()
    options = session_options(library, threads=3)
    assert options.get_session_config_entry("session.use_env_allocators") == "1"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert PROVIDER in library.get_available_providers()


def test_a_missing_pillow_is_a_sentence(loaded, monkeypatch):
    import numpy as np

    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingError, match="pip install pillow, or give inputs as arrays"):
        loaded.predict(np.zeros((8, 8, 3), dtype=np.uint8))
