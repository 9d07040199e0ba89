"""Memory of a loaded bundle, looked at in a process of its own: one set of weights, however many threads ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

PROGRAM = """
import json, sys, threading
import numpy as np
import onnxruntime
from exitsearch.runtime import load_bundle

def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS")][0]

before = resident_mb()
session = load_bundle(sys.argv[1])
loaded = resident_mb() - before
x = np.ones((3, 8, 8), dtype=np.float32)
together = threading.Barrier(8)

def ask():
    together.wait()
    for _ in range(5):
        assert session.predict(x).status == "ok"

threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({"loaded": loaded, "asked": resident_mb() - before}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_loaded_bundle_takes_little_more_than_its_weights(tmp_path):
    """69 MB of weights, four matrices of 2,048 x 2,048 and what is around them."""
    bundle = write_tiny_bundle(tmp_path / "b", width=2048, exits=4)
    weights = (bundle.path / "weights.safetensors").stat().st_size / 1e6
    assert weights > 60
    result = subprocess.run([sys.executable, "-c", PROGRAM, bundle.path], capture_output=True, text=True, check=True)
    found = json.loads(result.stdout)
    print(weights, found)
    assert found["loaded"] <= 1.3 * weights + 25
    assert found["asked"] <= 1.3 * weights + 25
