"""Methods by name, those of other packages among them."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from morphem import methods


def _offer(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    points = [EntryPoint(name, module, "morphem.methods")]
    monkeypatch.setattr(methods, "entry_points", lambda group: points)


def test_a_method_of_another_package_is_listed_and_loaded(monkeypatch: pytest.MonkeyPatch):
    brought = ModuleType("brought")
    brought.Config = object
    brought.reconstruct = print
    monkeypatch.setitem(sys.modules, "brought", brought)
    _offer(monkeypatch, "other", "brought")
    assert methods.registry()["other"].module == "brought"
    assert methods.load_method("other") is brought


def test_a_name_taken_twice_is_refused(monkeypatch: pytest.MonkeyPatch):
    _offer(monkeypatch, "cryospire", "brought")
    with pytest.raises(ValueError, match="two packages bring a method named cryospire"):
        methods.registry()


def test_a_module_that_is_no_method_is_refused(monkeypatch: pytest.MonkeyPatch):
    _offer(monkeypatch, "other", "json")
    with pytest.raises(ValueError, match="json is not a method: it lacks Config and reconstruct"):
        methods.load_method("other")


def test_a_mistyped_method_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean cryospire"):
        methods.load_method("cryospre")
