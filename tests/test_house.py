"""The house rules as tests: what every file, function, import, page and promise of this project keeps to.

Each rule is a plain function from the tree to the places that break it, so that a failure lists all of them at once.
Who may import whom is held by import-linter (pyproject.toml); here stands what it cannot say."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import grimp
import pytest

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "supervisor", "agentproc")

FILE_LINES = 320
# A row or a message is a line of a table; a table is read, not followed.
LONGER_FILES = {"gateway/protocol/calls/": 400, "supervisor/messages.py": 400}
FUNCTION_LINES = 60

# Pure: time, randomness and identity are arguments, so a state is a value and its test is a table.
OUTSIDE_WORLD = {"os", "random", "secrets", "select", "signal", "socket", "sqlite3", "ssl", "subprocess", "threading"}
OUTSIDE_WORLD |= {"asyncio", "time", "trio", "trio_websocket"}
PURE_MODULES = (
    "supervisor.machine",
    "supervisor.messages",
    "supervisor.quarantine",
    "gateway.services.run_state",
    "gateway.services.lanes",
    "gateway.services.policy",
    "gateway.schedules.explain",
    "gateway.schedules.job",
    "gateway.schedules.schedule",
    "gateway.services.cron.addresses",
    "gateway.services.cron.misfire",
    "gateway.services.cron.outcome",
    "gateway.services.cron.overlap",
    "gateway.link.bounds",
    "gateway.auth.decide",
    "gateway.services.pairing.rules",
    "gateway.services.pairing.changes",
    "gateway.services.pairing.shapes",
    "gateway.auth.asking",
    "gateway.auth.origin",
    "gateway.auth.outer",
    "gateway.auth.picture",
    "gateway.auth.proof",
    "gateway.auth.proxies",
    "gateway.auth.ratelimit",
    "gateway.auth.secrets",
    "gateway.auth.writebudget",
)
PURE_PACKAGES = ("gateway.protocol",)

# What a module may reach of our own code, however indirectly; of everything outside it may use what it likes.
REACH = {
    "gateway.protocol": ("gateway.protocol",),
    "gateway.client": ("gateway.client", "gateway.link", "gateway.protocol"),
    "gateway.schedules": ("gateway.schedules", "gateway.protocol"),
    "supervisor.messages": (),
}
ONLY_IMPORTER = {"trio_websocket": ("gateway.link.websocket",)}

PAGES: tuple[str, ...] = (
    "cron",
    "design",
    "operations",
    "runs",
    "agents",
    "pairing",
    "remote",
    "security",
    "promises",
    "protocol",
)
PAGES += ("compatibility", "contributing", "glossary")
PROMISES = tuple(f"P{number}" for number in range(1, 13))


@cache
def project_files() -> tuple[Path, ...]:
    """Every file git knows or would add; in an unpacked archive, every file outside dot directories."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        names = [str(path) for path in found if not any(part.startswith((".", "__pyc")) for part in path.parts)]
    return tuple(path for path in map(ROOT.joinpath, names) if path.is_file())


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(path for path in project_files() if path.suffix == ".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def name_of(path: Path, node: ast.AST | None = None) -> str:
    where = path.relative_to(ROOT).as_posix()
    return f"{where}:{getattr(node, 'lineno', 1)}" if node is not None else where


def nodes_of(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    for path in python_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, kind):
                yield path, node


def extent(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


# --- files and functions ----------------------------------------------------------------------------------------------


def test_every_file_opens_by_saying_what_it_owns():
    leads = {name_of(path): ast.get_docstring(tree_of(path)) or "" for path in python_files()}
    assert [name for name, lead in leads.items() if len(lead.split("\n\n")[0].split()) < 4] == []


def test_every_file_is_short_enough_to_read():
    def limit(name: str) -> int:
        return next((lines for start, lines in LONGER_FILES.items() if name.startswith(start)), FILE_LINES)

    lines = {name_of(path): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: count for name, count in lines.items() if count > limit(name)} == {}


def test_every_function_fits_on_a_screen():
    functions: list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    functions += nodes_of(ast.FunctionDef)
    functions += nodes_of(ast.AsyncFunctionDef)
    lengths = {f"{name_of(path, node)} {node.name}": extent(node) for path, node in functions}
    assert {name: count for name, count in lengths.items() if count > FUNCTION_LINES} == {}


def test_nothing_is_left_to_do():
    unfinished = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    lines = (
        (path, number, line) for path in python_files() for number, line in enumerate(path.read_text().splitlines(), 1)
    )
    assert [f"{name_of(path)}:{number}" for path, number, line in lines if unfinished.search(line)] == []


def test_no_file_names_the_machine_it_was_written_on():
    place = re.compile(rb"(?<![\w.~-])/(work|tmp/peer)/")
    assert [name_of(path) for path in project_files() if place.search(path.read_bytes())] == []


# --- what code may not do ---------------------------------------------------------------------------------------------


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(is_broad(one) for one in caught.elts)
    return isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException")


def does_nothing(body: list[ast.stmt]) -> bool:
    return all(isinstance(line, ast.Pass | ast.Continue) or is_ellipsis(line) for line in body)


def is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def test_no_error_is_swallowed_unseen():
    swallowed = [
        name_of(path, node)
        for path, node in nodes_of(ast.ExceptHandler)
        if node.type is None or (is_broad(node.type) and does_nothing(node.body))
    ]
    swallowed += [
        name_of(path, node)
        for path, node in nodes_of(ast.Call)
        if ast.unparse(node.func) in ("suppress", "contextlib.suppress") and any(map(is_broad, node.args))
    ]
    assert swallowed == []


def test_no_queue_is_without_a_bound():
    endless = re.compile(r"\binf\b|float\(")
    assert [
        name_of(path, node)
        for path, node in nodes_of(ast.Call)
        if "open_memory_channel" in ast.unparse(node.func) and endless.search(" ".join(map(ast.unparse, node.args)))
    ] == []


# --- imports ----------------------------------------------------------------------------------------------------------


def test_no_module_imports_itself_in_a_circle():
    graph = import_graph()
    edges = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(graphlib.TopologicalSorter(edges).static_order())  # a CycleError names the circle


def test_pure_modules_reach_nothing_of_the_outside_world():
    graph = import_graph()
    pure = [module for module in graph.modules if module in PURE_MODULES or within(module, PURE_PACKAGES)]
    chains = (graph.find_shortest_chain(module, world) for module in pure for world in OUTSIDE_WORLD & graph.modules)
    assert [" > ".join(chain) for chain in chains if chain] == []


@pytest.mark.parametrize(("root", "allowed"), REACH.items())
def test_a_shared_module_reaches_only_what_its_users_may_load(root: str, allowed: tuple[str, ...]):
    graph = import_graph()
    members = [module for module in graph.modules if within(module, (root,))]
    reached = {(module, other) for module in members for other in graph.find_upstream_modules(module)}
    assert [pair for pair in reached if within(pair[1], PACKAGES) and not within(pair[1], (root, *allowed))] == []


@pytest.mark.parametrize(("library", "importers"), ONLY_IMPORTER.items())
def test_a_library_kept_behind_one_module_is_imported_there_alone(library: str, importers: tuple[str, ...]):
    graph = import_graph()
    users = graph.find_modules_that_directly_import(library) if library in graph.modules else set()
    assert users <= set(importers)


def test_the_supervising_daemon_never_loads_the_command_line():
    graph = import_graph()
    command_line = ("supervisor.cli", "supervisor.__main__")
    daemon = [
        module for module in graph.modules if within(module, ("supervisor",)) and not within(module, command_line)
    ]
    imports = ((module, used) for module in daemon for used in graph.find_modules_directly_imported_by(module))
    assert [pair for pair in imports if within(pair[1], command_line)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_comes_from_our_distribution_alone(package: str):
    """PyPI has distributions named supervisor and agentproc whose packages would merge into ours unseen."""
    assert set(importlib.metadata.packages_distributions().get(package, ["peergate"])) == {"peergate"}
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert [Path(place) for place in spec.submodule_search_locations or ()] == [ROOT / package]


# --- the files around the code ----------------------------------------------------------------------------------------


def test_the_lock_names_only_the_public_index_and_knows_every_dependency():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = next(package for package in lock["package"] if package["name"] == project["name"])
    sources = {package["source"].get("registry") for package in lock["package"] if package is not ours}
    assert sources == {"https://pypi.org/simple"}
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    known = {
        requirement["name"] + requirement.get("specifier", "") for requirement in ours["metadata"]["requires-dist"]
    }
    assert {re.sub(r"\[.*?\]", "", requirement) for requirement in wanted} == known


@pytest.mark.parametrize("page", ["README.md", "docs/contributing.md"])
def test_every_make_word_a_page_shows_exists(page: str):
    words = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE)) <= words


def functions_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_names_tests_that_exist():
    page = ROOT / "docs" / "promises.md"
    if not page.exists():  # the page is written when there is something to promise
        return
    text = page.read_text()
    cited = re.findall(r"`(tests/[\w/]+\.py)::(\w+)[^`]*`", text)
    missing = [f"{path}::{name}" for path, name in cited if name not in functions_in(ROOT / path)]
    assert missing == []
    assert [promise for promise in PROMISES if not re.search(rf"\b{promise}\b", text)] == []
    assert [name for name in PAGES if not (ROOT / "docs" / f"{name}.md").exists()] == []
