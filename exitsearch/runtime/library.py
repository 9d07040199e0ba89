"""onnxruntime as this package wants it: no telemetry, one arena a process, memory given back after loading."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from types import ModuleType
from typing import Any

from .errors import MissingError

PROVIDER = "CPUExecutionProvider"

# Whether this process has an arena that all sessions share; an environment takes one of a kind.
_arena_made = False
_lock = threading.Lock()


def load_onnxruntime() -> ModuleType:
    """onnxruntime, imported now.

    From 1.29 on it starts a thread that reports on its use when it is imported; the variable forbids it. Where somebody
    imported it before, what they set holds.

    Raises:
        MissingError: it is not installed, or too old.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError(f"a bundle runs on onnxruntime, which is not installed here ({error}); pip install "
                           "'onnxruntime>=1.24.1'") from None  # fmt: skip
    # By it, weights are loaded from the very bytes that were checked.
    if not hasattr(onnxruntime.SessionOptions, "add_external_initializers_from_files_in_memory"):
        raise MissingError(
            f"a bundle runs on onnxruntime from 1.24.1 on, found {onnxruntime.__version__}; pip install "
            "'onnxruntime>=1.24.1'"
        )
    return onnxruntime  # type: ignore[no-any-return]


def share_arena(library: ModuleType) -> None:
    """Make the arena that every session with `session.use_env_allocators` takes its memory from, once in a process."""
    global _arena_made
    with _lock:
        if _arena_made:
            return
        facts = library.OrtMemoryInfo(
            "Cpu", library.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, library.OrtMemType.DEFAULT
        )
        try:
            library.create_and_register_allocator(facts, None)
        except Exception as error:  # onnxruntime's errors have no common base of their own
            if "already" not in str(error):
                raise
        _arena_made = True


def session_options(library: ModuleType, *, threads: int) -> Any:
    """Options of every session.

    Args:
        threads: that one run may use.
    """
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised; the log would say it a second time
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A bundle is many sessions: threads of one that spin take the processor from the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def give_memory_back() -> None:
    """Hand the pages that loading has freed back to the system, where the C library can."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # a C library without it, as musl
        return
