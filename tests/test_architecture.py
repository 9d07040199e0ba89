"""The house of DESIGN section 3: imports run one way, and light commands load nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "exitsearch"

# Room to the rooms that it may import from, besides itself and errors.
ALLOWED = {
    "errors": set(),
    "allocator": set(),
    "specs": set(),
    "runtime": set(),  # a package of its own, too: not even errors
    "serving": {"runtime"},  # no torch where bundles are served
    "search": {"specs"},
    "models": {"specs"},
    "measure": {"specs", "models", "allocator"},
    "learn": {"specs", "models", "allocator"},
    "deploy": {"specs", "runtime", "models", "measure", "learn"},
    "pipeline": {"specs", "runtime", "search", "models", "measure", "learn", "deploy"},
    "report": {"specs", "runtime", "search", "models", "measure", "learn", "deploy", "pipeline"},
    "cli": {"specs", "runtime", "search", "models", "measure", "learn", "deploy", "pipeline", "report", "serving"},
    "testing": {"specs", "models"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ALLOWED)


def imported_modules(path: Path) -> set[str]:
    """Every absolute module name that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if room_of(path) == "runtime":
                depth = len(path.relative_to(PACKAGE / "runtime").parts)
                assert node.level <= depth, f"{path}: the package exitsearch_runtime has nothing above it"
                names.update({node.module or ""} if node.level == 0 else ())
                continue
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names.add(node.module or "")
    return names


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "exitsearch" and len(parts) > 1:
            assert parts[1] in ALLOWED[room] | {room, "errors"}, f"{room} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    room, roots = room_of(path), {name.split(".")[0] for name in imported_modules(path)}
    if room in ("specs", "search", "errors"):
        assert not roots & {"torch", "timm", "torchvision"}
    if "optuna" in roots:
        assert path.parent == PACKAGE / "search" / "study"
    if "argparse" in roots:
        assert room == "cli"
    if room == "cli":
        assert not roots & {"torch", "timm", "numpy", "optuna"}


def test_the_runtime_needs_numpy_and_onnxruntime_alone() -> None:
    """Pillow is imported where an image is given, and asked for in a sentence where it is missing."""
    for path in sorted((PACKAGE / "runtime").rglob("*.py")):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert roots <= {*sys.stdlib_module_names, "numpy", "onnxruntime", "PIL"}, path


def test_serving_needs_its_extra_and_no_torch() -> None:
    """What a server imports: its extra, and what the runtime needs; pydantic and starlette come with FastAPI."""
    extra = {"fastapi", "starlette", "pydantic", "uvicorn", "h11", "prometheus_client"}
    for path in sorted((PACKAGE / "serving").rglob("*.py")):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert roots <= {*sys.stdlib_module_names, "exitsearch", "numpy", "PIL", *extra}, path
    program = "import exitsearch.serving.web.server, exitsearch.serving.app, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


LONGEST_FUNCTION, LONGEST_FILE = 60, 400


def functions_of(path: Path) -> list[tuple[str, int]]:
    """Every function of a file with its lines: from `def` to its end, without its docstring."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            described = ast.get_docstring(node) is not None and first.end_lineno is not None
            words = first.end_lineno - first.lineno + 1 if described else 0
            found.append((node.name, node.end_lineno - node.lineno + 1 - words))
    return found


def test_functions_and_files_are_short() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    files = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in paths}
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    functions = [(str(path.relative_to(PACKAGE)), *found) for path in paths for found in functions_of(path)]
    assert [found for found in functions if found[-1] > LONGEST_FUNCTION] == []


def test_lines_of_a_function_by_hand(tmp_path: Path) -> None:
    """Three lines for the signature, one for the body; a docstring of two does not count, a function inside does."""
    path = tmp_path / "long.py"
    one = 'def one(\n    x,\n):\n    """Words.\n    """\n    return x\n'
    path.write_text(one + "\n\ndef two():\n    def three():\n        pass\n")
    assert functions_of(path) == [("one", 4), ("two", 3), ("three", 2)]


def test_there_is_no_utils() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if path.stem in ("utils", "helpers", "common", "misc")]


@pytest.mark.parametrize(
    "code",
    [
        "import exitsearch",
        "from exitsearch.cli.main import build_parser; build_parser()",
        "import exitsearch; exitsearch.parse_budget('uniform:10,80').survival([1.0])",
        "import exitsearch.runtime",
    ],
)
def test_light_things_load_nothing_heavy(code: str) -> None:
    heavy = "torch timm optuna matplotlib sklearn pandas onnxruntime"
    program = f"{code}\nimport sys; print([name for name in {heavy.split()} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_can_be_had() -> None:
    import exitsearch

    for name in exitsearch.__all__:
        assert callable(getattr(exitsearch, name))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = exitsearch.no_such_name
