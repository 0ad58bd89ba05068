"""An accelerator for machines that have none: its tensors lie in main memory, and meet no others.

As with a GPU, an operation whose tensors lie on two devices fails, unless it copies or takes rows by index.
Numbers are those of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass, replace
from multiprocessing import get_context
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = "pretend"
_SETUP = "_setup_privateuseone_for_python_backend"
_FACTORIES = (
    "arange", "arange.start", "arange.start_step", "empty.memory_format", "empty_strided", "eye", "eye.m",
    "linspace", "randperm",
)  # fmt: skip
_HERE = torch.device("cpu")
aten = torch.ops.aten
_INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
_COPYING = (aten._to_copy.default, aten.copy_.default)
# the CPU's operations below would not heed the mark that such a view is
_LAZY = {aten._conj.default: aten.conj_physical.default, aten._neg_view.default: aten.neg.default}
Result = TypeVar("Result")
_library: list[torch.library.Library] = []  # goes when nothing holds it


class Held(Tensor):
    """A tensor of the accelerator."""

    numbers: Tensor

    @staticmethod
    def of(numbers: Tensor) -> Held:
        """Show numbers as if they were elsewhere."""
        layout = {
            "strides": numbers.stride(),
            "storage_offset": numbers.storage_offset(),
            "dtype": numbers.dtype,
            "device": torch.device(NAME, 0),
        }
        held = Tensor._make_wrapper_subclass(Held, numbers.size(), **layout)
        held.numbers = numbers
        return held

    def tolist(self) -> Any:
        """Its numbers, fetched."""
        return self.numbers.tolist()

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{NAME} {self.numbers}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU what is asked of the accelerator."""
        return _carried_out(func, args, kwargs or {})


def on_accelerator(function: Callable[..., Result], *arguments: object) -> Result:
    """What a function gives in a process that has the accelerator; else the test is skipped.

    PyTorch counts devices when it first goes backward, and no other test shall meet this one.
    """
    if not hasattr(backend_registration, _SETUP):
        pytest.skip("this version of PyTorch lets no accelerator be written in Python")
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_prepared) as pool:
        return pool.submit(function, *arguments).result()


def tells_device(config: Any) -> bool:
    """Whether settings tell where something is computed."""
    values = {each.name: getattr(config, each.name) for each in fields(config)}
    return "device" in values or any(tells_device(each) for each in values.values() if is_dataclass(each))


def on_device(config: Any) -> Any:
    """The same settings, with all that tell a device telling the accelerator, where there is one."""
    changed: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name == "device":
            changed[each.name] = NAME
        elif is_dataclass(value):
            changed[each.name] = on_device(value)
    return replace(config, **changed)


def _prepared() -> None:
    torch.set_num_threads(1)
    getattr(backend_registration, _SETUP)(NAME)
    _library.append(torch.library.Library("aten", "IMPL"))
    for name in _FACTORIES:
        _library[0].impl(name, _factory(name), "PrivateUse1")


def _factory(name: str) -> Callable[..., Held]:
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(aten, packet), overload or "default")

    def made(*args: Any, **kwargs: Any) -> Held:
        return Held.of(operation(*args, **{**kwargs, "device": _HERE}))

    return made


def _carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    first = isinstance(args[0], Held) if args else False
    # indices may lie on the CPU; what is written at them may not
    meeting = (args[0], args[2:]) if func in _INDEXING and first else (args, kwargs)
    tensors = [each for each in tree_flatten(meeting)[0] if isinstance(each, Tensor)]
    held = [each for each in tensors if isinstance(each, Held)]
    if held and func not in _COPYING and any(not isinstance(each, Held) and each.dim() for each in tensors):
        raise RuntimeError(f"{func} of tensors on {NAME} and on the CPU")
    asked = kwargs.get("device")
    lands = first if func in (*_INDEXING, *_COPYING) else bool(held)
    if asked is not None:
        lands, kwargs = asked.type == NAME, {**kwargs, "device": _HERE}
    func = _LAZY.get(func, func)
    found = func(*tree_map(_fetched, args), **tree_map(_fetched, kwargs))
    if not lands:
        return found
    found = tree_map(lambda each: Held.of(each) if isinstance(each, Tensor) else each, found)
    new = func in (aten._to_copy.default, *_LAZY.values())
    return found if new else return_and_correct_aliasing(func, args, kwargs, found)


def _fetched(value: Any) -> Any:
    return value.numbers if isinstance(value, Held) else value
