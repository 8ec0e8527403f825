"""What is installed with what: the core gates in CI, each extra brings a part, and what is missing is named."""

import ast
import configparser
import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import evalpipe
from evalpipe.extras import EXTRA_OF, missing_part
from evalpipe.gate.bundle import bundle_json
from evalpipe.gate.members import members_of
from evalpipe.settings import Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS
from evalpipe_tests.evaluators.made import artifact
from evalpipe_tests.gate.made import NOW, case_file, flags, issues, suite

ROOT = Path(evalpipe.__file__).parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT.parent / "setup.cfg")
EXTRAS = {extra: text.split() for extra, text in SETUP["options.extras_require"].items()}
CORE = {canonicalize_name(name) for name in SETUP["options"]["install_requires"].split()}
DISTRIBUTIONS = packages_distributions()

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
RUN = """
from evalpipe.cli import main
sys.argv = ["evalpipe", *{arguments!r}]
code = None
try:
    main()
except SystemExit as end:
    code = end.code
{after}
sys.exit(code)
"""


def distribution_of(module: str) -> set[str]:
    return {canonicalize_name(name) for name in DISTRIBUTIONS.get(module, [])}


def with_what_they_need(names: set[str]) -> set[str]:
    """Distributions and all that is installed with them."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        waiting += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def third_party_imports() -> set[str]:
    modules = set()
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"evalpipe"}


def whole(extra: str) -> set[str]:
    """What an extra brings, with the extras that it names."""
    brought = set()
    for name in EXTRAS[extra]:
        inner = re.fullmatch(r"evalpipe\[(\w+)\]", name)
        brought |= whole(inner[1]) if inner else {canonicalize_name(name)}
    return brought


def evalpipe_without(folder: Path, blocked: set[str], *arguments: str, after: str = "", **environment: str):
    """The command line, where these libraries cannot be imported."""
    program = BLOCKED.format(blocked=blocked) + RUN.format(arguments=arguments, after=after)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT.parent), **environment}
    )


def suite_of(folder: Path, made) -> str:
    rows = suite(made)
    text = bundle_json(members_of(rows, issues(rows)), GATE_RUNS.empty(), GATE_RESULTS.empty(), Settings(), NOW)
    (folder / "suite.json").write_text(text, encoding="utf-8")
    return "suite.json"


def test_each_library_is_in_the_core_or_in_the_extra_that_is_named_where_it_is_missing():
    for module in sorted(third_party_imports() - {"pytest"}):  # who loads the pytest plugin has pytest
        names = distribution_of(module)
        assert names, f"{module} is not installed here"
        if module in EXTRA_OF:
            assert not names & CORE
            assert names & whole(EXTRA_OF[module]), f"{module} is not in the extra {EXTRA_OF[module]}"
            assert names & whole("all")
        else:
            assert names & with_what_they_need(CORE), f"{module} is neither in the core nor in extras.EXTRA_OF"


def test_dev_is_all_and_more_and_everything_is_pinned():
    pins = {
        canonicalize_name(line.partition("==")[0]) for line in (ROOT.parent / "constraints.txt").read_text().split()
    }
    assert whole("all") < whole("dev")
    assert CORE | whole("dev") <= pins


def test_the_entry_points_are_there():
    points = dict(SETUP["options.entry_points"].items())
    assert points["pytest11"].split() == ["evalpipe", "=", "evalpipe.pytest_plugin"]
    assert points["console_scripts"].split() == ["evalpipe", "=", "evalpipe.cli:main"]


def test_the_portable_gate_loads_the_core_alone(tmp_path):
    name = suite_of(tmp_path, flags(1, "sorry"))
    case_file(tmp_path, {"input": "q", "output": "fine"})
    files = ["--junit", "gate.xml", "--markdown", "gate.md", "--json", "gate.json"]
    arguments = ["gate", "--suite", name, "--cases", "cases.jsonl", *files]
    after = "print('LOADED', *{m.partition('.')[0] for m in sys.modules}, file=sys.stderr)"
    done = evalpipe_without(tmp_path, set(EXTRA_OF), *arguments, after=after)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.rpartition("LOADED")[2].split())
    core = with_what_they_need(CORE)
    beyond = {m for m in loaded - set(sys.stdlib_module_names) if distribution_of(m) and not distribution_of(m) & core}
    assert beyond <= {"evalpipe", "_distutils_hack"}  # the latter is how setuptools starts every Python
    assert "sorry" in (tmp_path / "gate.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["issues", "list"], "this command needs deltalake, which is not installed. Run: pip install 'evalpipe[all]'"),
        (["gate", "--suite", "suite.json", "--cases", "spans.otlp"], "pip install 'evalpipe[otlp]'"),
    ],
)
def test_a_command_whose_part_is_not_installed_says_what_to_install(tmp_path, arguments, words):
    suite_of(tmp_path, flags(1, "sorry"))
    (tmp_path / "spans.otlp").write_bytes(b"\x0a\x02\x0a\x00")
    done = evalpipe_without(tmp_path, set(EXTRA_OF), *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_module_that_is_no_part_is_a_bug():
    assert missing_part(ModuleNotFoundError("x", name="evalpipe.gone"), "this", is_portable=True) is None
    assert missing_part(ModuleNotFoundError("x", name="nonsense"), "this", is_portable=True) is None


def test_a_judge_that_cannot_be_asked_is_a_fault_with_what_to_install(tmp_path):
    program = {"instruction": "It apologises.", "model": None, "max_chars": 24_000}
    name = suite_of(tmp_path, artifact(program, kind="judge"))
    case_file(tmp_path, {"input": "q", "output": "a"})
    arguments = ["gate", "--suite", name, "--cases", "cases.jsonl", "--json", "-"]
    done = evalpipe_without(tmp_path, set(EXTRA_OF), *arguments, EVALPIPE_JUDGE_MODEL="openai/x")
    decision = json.loads(done.stdout)
    assert (done.returncode, decision["results"][0]["n_fault"]) == (1, 1)
    assert "which is not installed. Run: pip install 'evalpipe[judges]'" in decision["blocking_reasons"][0]
