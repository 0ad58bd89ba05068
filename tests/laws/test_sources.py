"""Laws on the text of the package: sizes, names, kinds of classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "morphem"
FILES = sorted(PACKAGE.rglob("*.py"))
FILE_LINES = 400
PACKAGE_LINES = 34_700  # published in CONTRIBUTING.md; it falls, or it is voted

WORN = re.compile(r"_(v\d+|old|new|fast|ai|tmp|legacy|utils?)(_|$)|(?<=[a-z])(V\d+|Old|New|Fast|AI|Legacy)$")
# A behaviour shared by records, without a field of its own.
MIXINS = {"PerParticle"}


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _given_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case (
            ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store())
        ):
            yield name


def _base_name(base: ast.expr) -> str:
    match base:
        case ast.Subscript(value=value):
            return _base_name(value)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


CLASSES = {
    node.name: node for path in FILES for node in _nodes(path) if isinstance(node, ast.ClassDef)
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_file_has_at_most_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES


def test_the_package_stays_within_its_budget():
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert total <= PACKAGE_LINES


def test_no_two_test_files_share_a_name():
    # pytest would import one of them for both
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_the_published_budget_is_the_one_that_is_kept():
    contributing = (PACKAGE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"{PACKAGE_LINES:,} lines" in contributing


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_name_tells_its_age_or_speed(path: Path):
    names = {name for node in _nodes(path) for name in _given_names(node)} | {path.stem}
    assert [name for name in names if WORN.search(name.strip("_"))] == []


def test_a_worn_name_would_be_seen():
    seen = [
        bool(WORN.search(name)) for name in ("render_fast", "step_v2", "old_map", "GridNew", "news", "fasta")
    ]
    assert seen == [True, True, False, True, False, False]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_is_abstract_or_final(name: str):
    bases = [_base_name(base) for base in CLASSES[name].bases]
    concrete = [base for base in bases if base in CLASSES and not base.startswith("Abstract")]
    assert [base for base in concrete if base not in MIXINS] == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_super_is_only_asked_for_a_constructor(path: Path):
    asked = [
        node.attr
        for node in _nodes(path)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Call)
        and _base_name(node.value.func) == "super"
    ]
    assert [attribute for attribute in asked if attribute != "__init__"] == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_public_function_states_the_shape_of_every_tensor(path: Path):
    functions = [
        node
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__")
    ]
    bare = [
        f"{function.name}, line {hint.lineno}"
        for function in functions
        for hint in [function.returns, *(argument.annotation for argument in _arguments(function))]
        if isinstance(hint, ast.Name) and hint.id in ("Tensor", "ndarray")
    ]
    assert bare == []


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    given = function.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs]
