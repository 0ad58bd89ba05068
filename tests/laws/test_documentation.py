"""The documentation is true: links lead somewhere, commands parse, codes are explained, examples run."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
import torch
import tyro

import morphem
from morphem import cli
from morphem.core.grid import Grid
from morphem.methods import registry
from morphem.report.api import load, preset_of, with_settings
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "morphem"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WITH_README = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PLUGIN = "two-classes"  # the name under which docs/method.md installs its example
EXAMPLE_LINES = 40  # of the example below its imports, empty ones not counted

_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"!\[([^]]*)\]\(([^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_FENCE = re.compile(r"(?:^<!-- (\w+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"[A-Z]+(?:-[A-Z]+)*-(?:\d{3}|NAN)")
_OPTION = re.compile(r"--[a-z][a-z0-9.-]*")


@dataclass(frozen=True)
class Block:
    """A fenced block: the word of the comment before it, its language, its text."""

    mark: str
    language: str
    text: str


class ParsedError(Exception):
    """Raised where a command has understood its arguments and would begin to work."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", _text(path))


def _blocks(path: Path) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(_text(path))]


def _marked(mark: str) -> list[tuple[Path, Block]]:
    return [(path, block) for path in PAGES for block in _blocks(path) if block.mark == mark]


def _example() -> str:
    ((_, block),) = _marked("method")
    return block.text


def _lines(path: Path) -> Iterator[str]:
    """Commands of the shell blocks of a page, one for each part of ``a && b``."""
    for block in _blocks(path):
        if block.language in ("", "bash", "sh"):
            for line in block.text.splitlines():
                yield from (part.strip() for part in line.split(" && "))


def _morphem_lines(path: Path) -> Iterator[list[str]]:
    for line in _lines(path):
        words = shlex.split(line, comments=True)
        if words[:1] == ["morphem"]:
            yield words[1:]


COMMAND_LINES = [(path, words) for path in WITH_README for words in _morphem_lines(path)]


def _anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as the site and GitHub make them."""
    titles = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", WITH_README, ids=_name)
def test_a_link_leads_to_a_file_and_heading_that_exist(page: Path):
    broken = []
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        outside = page in PAGES and not there.is_relative_to(ROOT / "docs")  # the site holds no more
        if outside or not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", WITH_README, ids=_name)
def test_every_picture_is_described_in_words(page: Path):
    assert [target for words, target in _IMAGE.findall(_text(page)) if len(words.split()) < 3] == []


def _leaves(entries: list) -> Iterator[str]:
    for entry in entries:
        for inner in entry.values():
            yield from ([inner] if isinstance(inner, str) else _leaves(inner))


def test_every_page_is_in_the_menu_once():
    menu = tomllib.loads(_text(ROOT / "zensical.toml"))["project"]["nav"]
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES]
    assert sorted(_leaves(menu)) == sorted(pages)


@pytest.mark.parametrize("page", WITH_README, ids=_name)
def test_no_page_names_a_place_of_one_machine_or_something_unfinished(page: Path):
    found = re.findall(
        r"(?<![\w.])/(?:work|tmp|home|root|opt)/\S*|\b(?:TODO|FIXME|coming soon)\b", _text(page)
    )
    assert found == []


@cache
def _codes_of_the_source() -> frozenset[str]:
    """Codes that are a string of their own in the package, and those at the beginning of a message."""
    codes: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(_text(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                whole = _CODE.fullmatch(node.value)
                begun = re.match(rf"E-({_CODE.pattern}) ", node.value)
                codes |= {whole[0]} if whole else {begun[1]} if begun else set()
    return frozenset(codes)


def _rows_of_codes() -> dict[str, list[str]]:
    rows = re.findall(rf"^\| `({_CODE.pattern})` \|(.*)\|$", _text(ROOT / "docs" / "errors.md"), re.MULTILINE)
    assert len({code for code, _ in rows}) == len(rows)
    return {code: [cell.strip() for cell in cells.split(" | ")] for code, cells in rows}


def test_every_error_code_is_explained_and_none_that_is_gone():
    assert set(_rows_of_codes()) == _codes_of_the_source()


def test_every_error_code_has_its_meaning_and_what_to_do():
    short = {code for code, cells in _rows_of_codes().items() if len(cells) != 2 or not all(cells)}
    assert short == set()


@pytest.mark.parametrize("page", WITH_README, ids=_name)
def test_a_code_that_is_mentioned_exists(page: Path):
    mentioned = {
        code
        for span in _INLINE.findall(_prose(page))
        for code in re.findall(rf"^(?:E-)?({_CODE.pattern})$", span)
    }
    assert mentioned - _codes_of_the_source() == set()


def _titles_of_findings() -> Iterator[str]:
    """What stands fast of the titles that the report's findings have."""
    tree = ast.parse(_text(SOURCE / "report" / "scene" / "findings.py"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
            title = node.args[1]
            if isinstance(title, ast.Constant):
                yield str(title.value)
            elif isinstance(title, ast.JoinedStr):
                fixed = [str(part.value).strip() for part in title.values if isinstance(part, ast.Constant)]
                yield max(fixed, key=len)


def test_every_finding_of_the_report_is_explained():
    page = _text(ROOT / "docs" / "report.md").lower()
    titles = {title.strip(" Å:,").lower() for title in _titles_of_findings()}
    assert len(titles) > 15
    assert {title for title in titles if title not in page} == set()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The method of docs/method.md, installed as it says: a package with an entry point."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "two_classes.py").write_text(_example(), encoding="utf-8")
    (toml,) = (block.text for block in _blocks(ROOT / "docs" / "method.md") if block.language == "toml")
    ((group, points),) = tomllib.loads(toml)["project"]["entry-points"].items()
    about = folder / "two_classes-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: two-classes\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    importlib.invalidate_caches()


def _run(words: list[str]) -> int | str | None:
    """Exit status of a command line, or ``parsed`` where it was understood and not begun."""
    try:
        return cli.main(words)
    except ParsedError:
        return "parsed"
    except SystemExit as stopped:
        return stopped.code


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch, plugin: Path) -> None:
    """Commands read their arguments with their own parsers, and stop there."""
    parse = tyro.cli

    def parsed(*args: object, **options: object) -> None:
        parse(*args, **options)  # type: ignore[call-overload]
        raise ParsedError

    monkeypatch.setattr(tyro, "cli", parsed)


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize(
    ("page", "words"), COMMAND_LINES, ids=[f"{page.stem}: {' '.join(words)}" for page, words in COMMAND_LINES]
)
def test_a_command_of_a_page_is_understood(page: Path, words: list[str], capsys: pytest.CaptureFixture[str]):
    words = ["cryospire" if word == "METHOD" else word for word in words]
    status = _run(words)
    assert status in ("parsed", 0), capsys.readouterr()


def test_a_command_that_does_not_exist_would_be_seen(only_parsed: None, capsys: pytest.CaptureFixture[str]):
    assert _run(["check", "particles.star", "--consensus", "map.mrc"]) == "parsed"
    assert _run(["check", "particles.star", "--consensis", "map.mrc"]) == 2
    assert _run(["volumes", "run", "--states", "many"]) == 2
    assert _run(["reconstuct", "cryospire"]) == 2


def _options(words: list[str]) -> set[str]:
    """Long options that the help of a command lists."""
    told = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        patch.setenv("COLUMNS", "80")  # wider, help stands in two columns
        assert _run([*words, "--help"]) == 0
    # a row begins with the option's names, and two spaces part them from what is said of it
    rows = re.findall(r"^[│ ] *(-{1,2}\w.*?)(?:  |│|$)", told.getvalue(), re.MULTILINE)
    found = {name for row in rows for name in _OPTION.findall(row)}
    assert found, f"the help of {words} lists no option"
    return found


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Options of every command; those of ``reconstruct`` are of all methods and presets."""
    commands = [name for name in cli.COMMANDS if name not in ("methods", "reconstruct")]
    found = {name: _options([name, "x"]) for name in commands}
    methods = [["reconstruct", name, "x"] for name in registry()]
    return {**found, "reconstruct": set().union(*map(_options, methods)), "methods": set()}


@pytest.mark.parametrize("page", WITH_README, ids=_name)
def test_a_command_or_option_within_a_sentence_exists(page: Path, options: dict[str, set[str]]):
    everything = {"--help", "--version", "--debug"}.union(*options.values())
    unknown = []
    for span in _INLINE.findall(_prose(page)):
        words = span.split()
        if words[0] == "morphem" and len(words) > 1:
            known = options.get(words[1], set()) | {"--help"}
            unknown += [] if words[1] in cli.COMMANDS or words[1].isupper() else [span]
        elif words[0].startswith("--"):
            known = everything
        else:
            continue
        unknown += [option for option in _OPTION.findall(span) if option not in known]
    assert unknown == []


def test_a_target_or_benchmark_that_is_mentioned_exists():
    makefile = _text(ROOT / "Makefile")
    lines = [line for page in WITH_README for line in [*_lines(page), *_INLINE.findall(_prose(page))]]
    targets = {found[1] for line in lines if (found := re.match(r"make (\w+)", line))}
    modules = {found[1] for line in lines if (found := re.match(r"python -m benchmarks\.(\w+)", line))}
    assert {name for name in targets if f"\n{name}:" not in makefile} == set()
    assert {name for name in modules if not (ROOT / "benchmarks" / f"{name}.py").is_file()} == set()


def _simulated(folder: Path, images: int) -> Truth:
    """Write images of 32 pixels, of a domain that swings, and another that is not always there."""
    truth = plan(hinge(), images, Grid(32, 8.0), 0, Conditions(snr=0.4))
    write_dataset(folder, truth)
    return truth


@pytest.mark.parametrize(("page", "block"), _marked("runs"), ids=lambda given: getattr(given, "stem", ""))
def test_an_example_in_python_runs(page: Path, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _simulated(tmp_path, 150)
    monkeypatch.chdir(tmp_path)
    named: dict[str, object] = {}
    exec(compile(block.text, str(page), "exec"), named)
    assert "found" in named


@pytest.mark.parametrize(("page", "block"), _marked("settings"), ids=lambda given: getattr(given, "stem", ""))
def test_an_example_of_settings_names_settings_that_exist(page: Path, block: Block):
    (call,) = (node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call))
    given = {
        word.arg: ast.literal_eval(word.value)
        for word in call.keywords
        if isinstance(word.value, ast.Constant)
    }
    method = ast.literal_eval(call.args[0])
    others = {name: value for name, value in given.items() if name and name not in ("out", "preset")}
    config = preset_of(method, given.get("preset", ""))
    assert with_settings(config, others) != config


def test_the_example_of_a_method_is_short_and_keeps_the_laws():
    lines = [line for line in _example().splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) <= EXAMPLE_LINES
    where = ["--stdin-filename", str(SOURCE / "methods" / "two_classes.py"), "-"]
    for command in (["check"], ["format", "--check"]):
        answer = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *where],
            input=_example(), capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.slow
def test_the_example_of_a_method_parts_bent_from_straight(plugin: Path, tmp_path: Path):
    angle = _simulated(tmp_path / "set", 600).state[:, 0]
    particles, run = tmp_path / "set" / "particles.star", tmp_path / "run"
    assert _run(["reconstruct", PLUGIN, str(particles), "-o", str(run), "--rounds", "6"]) == 0
    found = load(run)
    assert found.latents.unique().tolist() == [0, 1]
    member = found.latents[:, 0]
    # two classes of a uniform coordinate correlate with it by √3/2 at most, by 0.04 if drawn at random
    assert abs(float(torch.corrcoef(torch.stack([member, angle.float()]))[0, 1])) > 0.6


@pytest.mark.slow
def test_the_example_of_a_method_passes_the_contract_unasked(plugin: Path):
    chosen = f"{PLUGIN} and (short_sentence or every_particle or decodes or refused or recovered)"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/contract", "-p", "no:cacheprovider", "-rA", "-k", chosen],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**inherited, "PYTHONPATH": str(plugin), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-3000:]
    assert answer.stdout.count("PASSED") >= 7


def test_public_names_are_in_the_page_of_the_python_interface():
    page = _text(ROOT / "docs" / "api.md")
    homes = {f"{home}.{attribute}" for home, attribute in morphem._HOMES.values()}
    assert {name for name in homes if f"::: {name}\n" not in page} == set()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    pytest.importorskip("zensical")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("CONVENTIONS.md", "zensical.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    answer = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (tmp_path / "site" / "index.html").is_file()
