"""Which particles satisfy an expression over columns, such as ``z1 > 0.5 and state in (2, 3)``.

The text is parsed by Python's own parser and walked node by node; only what is listed here is understood,
and nothing of it is ever run as code.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Bool, Float, Int

from morphem.data.errors import DataError
from morphem.report.scene.shown import Column

_LONGEST = 4000  # characters
_DEEPEST = 50  # levels of the tree, and so of the recursion
_ORDER: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_LOGIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_NUMBERED = re.compile(r"(?P<head>|.*?[^-.\d])(?P<number>-?\d+(\.\d+)?)")
_FUNCTIONS = ("abs", "column", "known", "max", "mean", "median", "min", "percentile", "std")
_UNDERSTOOD = (
    "columns, numbers, 'names', + - * / % **, < <= == != >= >, in (…), and or not, and the functions "
    + ", ".join(_FUNCTIONS)
)


@dataclass(frozen=True)
class _Names:
    """A column of categories: codes into names, −1 where unknown."""

    label: str
    codes: Int[np.ndarray, "p"]
    names: tuple[str, ...]

    def numbers(self) -> Float[np.ndarray, "p"] | None:
        """What the names number: all of them do (``-1``), or all end in one (``state_2``); else None.

        NaN where unknown.
        """
        found = [_NUMBERED.fullmatch(name) for name in self.names]
        heads = {each["head"] for each in found if each is not None}
        if len(heads) != 1 or None in found:
            return None
        values = np.array([*(float(each["number"]) for each in found if each is not None), np.nan])
        return values[self.codes]


def satisfied(expression: str, columns: Mapping[str, Column], count: int) -> Bool[np.ndarray, "p"]:
    """Whether each particle satisfies ``expression``; a value that is unknown satisfies no comparison.

    Args:
        expression: Comparisons of columns, numbers and names, combined by ``and``, ``or`` and ``not``
            (or ``&``, ``|``, ``~`` between brackets). A category equals its name, or the number at the end
            of it. ``min``, ``max``, ``mean``, ``median``, ``std`` and ``percentile(column, q)`` are over all
            particles where their value is known.
        columns: By name.
        count: Number of particles.

    Raises:
        DataError: ``SELECT-001``, with what was not understood and what would be.
    """
    if len(expression) > _LONGEST:
        raise DataError("SELECT-001", f"an expression of {len(expression)} characters; at most {_LONGEST}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        message = f"{expression!r} cannot be read{where}; for example: z1 > 0.5 and state in (2, 3)"
        raise DataError("SELECT-001", message) from error
    if _depth(tree) > _DEEPEST:
        raise DataError(
            "SELECT-001", f"an expression nested deeper than {_DEEPEST} times; put it more simply"
        )
    reader = _Reader(expression.strip(), columns)
    with np.errstate(all="ignore"):
        return np.broadcast_to(reader.truth(tree.body), count).copy()


def _depth(tree: ast.AST) -> int:
    """Levels of a tree, found without recursion."""
    level, depth = [tree], 0
    while level and depth <= _DEEPEST:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


@dataclass(frozen=True)
class _Reader:
    """Walks the tree of one expression."""

    text: str
    columns: Mapping[str, Column]

    def value(self, node: ast.expr) -> Any:
        """Numbers (float64), truths (bool), names, a word, or a tuple of constants."""
        reading = _READINGS.get(type(node))
        if reading is None:
            self.refuse(node, f"is not understood; understood are {_UNDERSTOOD}")
        return reading(self, node)

    def truth(self, node: ast.expr) -> Any:
        """A condition."""
        value = self.value(node)
        if not (isinstance(value, np.ndarray | np.bool_) and value.dtype == bool):
            self.refuse(node, "is no condition; compare it with something, as in z1 > 0.5")
        return value

    def number(self, node: ast.expr) -> Any:
        """Numbers, of one or of all particles."""
        value = self.value(node)
        if isinstance(value, _Names):
            numbers = value.numbers()
            if numbers is None:
                self.refuse(node, f"holds names ({_listed(value.names)}); compare it with == or in")
            return numbers
        if not (isinstance(value, np.ndarray | np.floating) and value.dtype == np.float64):
            self.refuse(node, "is no number; put brackets around each comparison, or write and, or")
        return value

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Raise an error that shows the part of the text that ``node`` is."""
        part = ast.get_source_segment(self.text, node) or self.text
        raise DataError("SELECT-001", f"in {self.text!r}: {part} {what}")

    def column(self, node: ast.AST, name: str) -> Any:
        """A column as numbers or names."""
        alike = [known for known in self.columns if known.casefold() == name.casefold()]
        if name not in self.columns and len(alike) == 1:
            name = alike[0]
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=3)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            known = ", ".join(self.columns)
            self.refuse(node, f"is no column of this run; {meant}it has {known}")
        column = self.columns[name]
        if column.categories:
            return _Names(name, column.values, column.categories)
        return column.values.astype(np.float64)


def _constant(reader: _Reader, node: ast.Constant) -> Any:
    if isinstance(node.value, bool):
        return np.bool_(node.value)
    if isinstance(node.value, int | float):
        # float64 from here on: whole numbers of Python may grow without bound
        return np.float64(node.value) if abs(node.value) < 1e300 else np.float64(np.inf)
    if isinstance(node.value, str):
        return node.value
    return reader.refuse(node, "is neither a number nor a name")


def _name(reader: _Reader, node: ast.Name) -> Any:
    return reader.column(node, node.id)


def _logic(reader: _Reader, node: ast.BoolOp) -> Any:
    joined = operator.and_ if isinstance(node.op, ast.And) else operator.or_
    truth = reader.truth(node.values[0])
    for each in node.values[1:]:
        truth = joined(truth, reader.truth(each))
    return truth


def _unary(reader: _Reader, node: ast.UnaryOp) -> Any:
    if isinstance(node.op, ast.Not | ast.Invert):
        return ~reader.truth(node.operand)
    value = reader.number(node.operand)
    return -value if isinstance(node.op, ast.USub) else value


def _binary(reader: _Reader, node: ast.BinOp) -> Any:
    if type(node.op) in _LOGIC:
        both = [reader.value(each) for each in (node.left, node.right)]
        if not all(isinstance(each, np.ndarray | np.bool_) and each.dtype == bool for each in both):
            return reader.refuse(node, "joins no conditions; put brackets around each, or write and, or")
        return _LOGIC[type(node.op)](*both)
    if type(node.op) not in _ARITHMETIC:
        return reader.refuse(node, f"is not understood; understood are {_UNDERSTOOD}")
    return _ARITHMETIC[type(node.op)](reader.number(node.left), reader.number(node.right))


def _comparison(reader: _Reader, node: ast.Compare) -> Any:
    truth = np.bool_(True)
    for left, kind, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
        truth = truth & _compared(reader, left, kind, right)
    return truth


def _compared(reader: _Reader, left: ast.expr, kind: ast.cmpop, right: ast.expr) -> Any:
    if isinstance(kind, ast.Is | ast.IsNot):
        return reader.refuse(left, "is compared by a word that is not understood; write == or !=")
    if type(kind) in _ORDER:
        return _ORDER[type(kind)](reader.number(left), reader.number(right))
    if isinstance(kind, ast.Eq):
        return _equal(reader, left, right)
    if isinstance(kind, ast.NotEq):
        both = _known(reader.value(left)) & _known(reader.value(right))
        return ~_equal(reader, left, right) & both
    found = _listed_in(reader, left, right)
    return found if isinstance(kind, ast.In) else ~found & _known(reader.value(left))


def _listed_in(reader: _Reader, left: ast.expr, right: ast.expr) -> Any:
    if not isinstance(right, ast.Tuple | ast.List | ast.Set | ast.Constant):
        return reader.refuse(right, "is no list; write it as in (1, 2)")
    found = np.bool_(False)
    # Python reads (1) as 1
    for each in [right] if isinstance(right, ast.Constant) else right.elts:
        found = found | _equal(reader, left, each)
    return found


def _equal(reader: _Reader, left: ast.expr, right: ast.expr) -> Any:
    first, second = reader.value(left), reader.value(right)
    if isinstance(first, str):
        first, second, right = second, first, left
    if not isinstance(second, str):
        return reader.number(left) == reader.number(right)
    if not isinstance(first, _Names):
        return reader.refuse(right, "is a name, and is compared with no column of names")
    if second not in first.names:
        reader.refuse(right, f"is no name in {first.label}, which has {_listed(first.names)}")
    return first.codes == first.names.index(second)


def _known(value: Any) -> Any:
    if isinstance(value, _Names):
        return value.codes >= 0
    return ~np.isnan(value) if isinstance(value, np.ndarray | np.floating) else np.bool_(True)


def _call(reader: _Reader, node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in _FUNCTIONS or node.keywords or not node.args:
        return reader.refuse(node, f"is no function that is understood; these are {', '.join(_FUNCTIONS)}")
    if name == "column":
        word = node.args[0]
        if not (isinstance(word, ast.Constant) and isinstance(word.value, str)):
            return reader.refuse(node, "wants a name in quotes")
        return reader.column(node, word.value)
    if name == "known":
        return _known(reader.value(node.args[0]))
    return _of_numbers(reader, node, name, [reader.number(each) for each in node.args])


def _of_numbers(reader: _Reader, node: ast.Call, name: str, given: list[Any]) -> Any:
    if name in ("min", "max") and len(given) > 1:
        joined = np.minimum if name == "min" else np.maximum
        result = given[0]
        for each in given[1:]:
            result = joined(result, each)
        return result
    if len(given) != (2 if name == "percentile" else 1):
        return reader.refuse(node, "has too few or too many arguments; as in percentile(z1, 95), abs(z1)")
    if name == "abs":
        return np.abs(given[0])
    there = np.atleast_1d(given[0])
    there = there[~np.isnan(there)]
    if not len(there):
        return np.float64(np.nan)
    if name == "percentile":
        share = np.atleast_1d(given[1])
        if len(share) != 1 or not 0 <= share[0] <= 100:
            return reader.refuse(node, "wants a percentage from 0 to 100, as in percentile(z1, 95)")
        return np.float64(np.percentile(there, share[0]))
    return np.float64(getattr(there, name)() if name != "median" else np.median(there))


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


_READINGS: Mapping[type[ast.expr], Callable[[_Reader, Any], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.BoolOp: _logic,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _comparison,
    ast.Call: _call,
}
