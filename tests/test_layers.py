"""Which module may import which. Each line of RUNGS imports from lines above it, and a package from itself."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNGS = """
hub.model hub.prices
hub.contract
hub.policy hub.settings hub.http hub.shape hub.egress hub.clock hub.metrics hub.channels hub.reach
hub.context hub.render hub.templates hub.store hub.testing
hub.deliveries hub.tombstones hub.advertising
hub.approvals hub.consent hub.conversations hub.media hub.keys hub.watermarks
hub.identity
hub.continuation hub.tracking hub.quotes
hub.customers hub.desk hub.timeline hub.instance hub.albums hub.unsent hub.moves
hub.late hub.imports hub.amendments
hub.feedback
hub.statuses hub.erasure
hub.echoes
hub.sending hub.inbound hub.outbound hub.host hub.segments hub.events
hub.projector hub.confirmations
hub.campaigns
hub.alerts hub.fetcher hub.names hub.registry hub.web hub.client hub.simulate
hub.app
hub.demo
hub.cli
"""
HEIGHT = {name: height for height, line in enumerate(RUNGS.strip().splitlines()) for name in line.split()}
ADAPTERS_USE = {"hub.model", "hub.contract", "hub.http", "hub.shape"}  # their simulators and tests use hub.testing too
ANOTHERS_CLIENT = ("requests", "httpx", "urllib3", "http.client", "urllib.request")
# Whoever opens HTTP connections; all others are handed a contract.Http, which tests can play back.
CONNECT = (
    *("hub/http.py", "hub/egress.py", "hub/testing/*", "hub/demo*", "bench/*", "tests/*"),
    *("adapters/slack/*", "adapters/*/simulator.py", "adapters/*/*_server.py", "adapters/*/test_*.py"),
)


def imports(tree: ast.AST) -> Iterator[str]:
    """Names that are imported, also inside functions; not what only the type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


def unit(name: str) -> str:
    """The longest beginning of a dotted name that is in the table: ``hub.store.base.chunks`` is of ``hub.store``."""
    beginnings = list(itertools.accumulate(name.split("."), "{}.{}".format))
    return next((each for each in reversed(beginnings) if each in HEIGHT), name)


def faults(path: str, source: str) -> list[str]:
    """What a file of that name (relative to the repository) must not import."""
    tree = ast.parse(source)
    names = list(imports(tree))
    wrong = [name for name in names if name.startswith(ANOTHERS_CLIENT)]
    wrong += [name for name in names if not may_import(path, name)]
    if not any(fnmatch(path, pattern) for pattern in CONNECT):
        words = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(names)
        wrong += sorted(words & {"aiohttp.ClientSession", "aiohttp.request"})
    return [f"{path}: {name}" for name in wrong]


def may_import(path: str, name: str) -> bool:
    """Whether a file of hub/ or adapters/ may use that module or name of ours."""
    parts = Path(path).with_suffix("").parts
    here, there = unit(".".join(parts)), unit(name)
    if not name.startswith(("hub.", "adapters.")) or name == "hub.__version__":
        return True
    if parts[0] == "hub":
        return here == there or HEIGHT.get(there, math.inf) < HEIGHT.get(here, 0)
    if parts[0] == "adapters":
        aside = parts[-1] in ("simulator", "device", "testing", "conftest") or parts[-1].startswith("test_")
        aside = aside or parts[-1].endswith("_server")  # a simulator's
        own = name.startswith(f"adapters.{parts[1]}.") or is_common(name)
        return own or there in ADAPTERS_USE or (aside and there == "hub.testing")
    return True


def is_common(name: str) -> bool:
    """Whether it is of a folder of adapters/ that several adapters share: one without an adapter of its own."""
    folder = ROOT.joinpath(*name.split(".")[:2])
    return name.startswith("adapters.") and folder.is_dir() and not (folder / "adapter.py").exists()


def files() -> list[str]:
    found = [path for folder in ("hub", "adapters", "bench", "tests") for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def test_every_module_of_the_hub_stands_on_a_rung() -> None:
    modules = {".".join(Path(path).with_suffix("").parts[:2]) for path in files() if path.startswith("hub/")}
    assert modules - {"hub.__init__"} - HEIGHT.keys() == set(), "put them on a line of RUNGS"


@pytest.mark.parametrize("path", files())
def test_imports_go_down(path: str) -> None:
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "bad"),
    [
        ("hub/store/x.py", "from hub.inbound import apply", "hub.inbound.apply"),
        ("hub/store/x.py", "def f():\n    from hub import app", "hub.app"),
        ("hub/consent.py", "import hub.identity", "hub.identity"),
        ("hub/registry.py", "from adapters.email.adapter import Email", "adapters.email.adapter.Email"),
        ("hub/model.py", "import hub.nowhere", "hub.nowhere"),
        ("adapters/email/adapter.py", "from hub.store import Store", "hub.store.Store"),
        ("adapters/email/adapter.py", "from hub.testing.host import LocalHost", "hub.testing.host.LocalHost"),
        ("adapters/email/adapter.py", "from adapters.slack.text import x", "adapters.slack.text.x"),
        ("adapters/email/adapter.py", "import aiohttp\naiohttp.ClientSession()", "aiohttp.ClientSession"),
        ("hub/media.py", "from aiohttp import ClientSession", "aiohttp.ClientSession"),
        ("tests/test_x.py", "import httpx", "httpx"),
    ],
)
def test_a_bad_import_is_found(path: str, source: str, bad: str) -> None:
    assert faults(path, source) == [f"{path}: {bad}"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hub/inbound.py", "from hub import desk, identity\nfrom hub.store.base import chunks"),
        ("hub/outbound/lane.py", "from hub.outbound.job import Job"),
        ("hub/web/hooks.py", "if TYPE_CHECKING:\n    from hub.app import Hub"),
        ("adapters/email/simulator.py", "import aiohttp\nimport hub.testing.host\naiohttp.ClientSession()"),
        ("adapters/email/adapter.py", "from adapters.graph.webhook import verify"),
        ("adapters/email/adapter.py", "from adapters.email import parse\nfrom aiohttp import web\nimport hub.http"),
    ],
)
def test_a_good_import_is_let_through(path: str, source: str) -> None:
    assert faults(path, source) == []
