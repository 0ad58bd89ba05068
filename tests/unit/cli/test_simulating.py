"""What words on the command line become before anything is simulated."""

from __future__ import annotations

import math

import pytest

from morphem import cli
from morphem.cli.simulating import SimulateOptions, _parsed
from morphem.simulate.options import RECIPES, Conditions


def test_conditions_are_those_of_the_recipe_and_tier_that_are_named():
    assert _parsed(["hinge", "--tier", "standard"]).seen == RECIPES["hinge"].seen("standard")
    assert _parsed(["--tier=tiny", "ribosembly"]).seen == RECIPES["ribosembly"].seen("tiny")


@pytest.mark.parametrize("words", [["-o", "hinge"], ["--out=hinge"], ["--structures", "hinge"]])
def test_a_folder_called_as_a_recipe_is_no_recipe(words: list[str]):
    assert RECIPES["hinge"].seen("small") != RECIPES["igg-1d"].seen("small")
    assert _parsed(["mine.pdb", *words]).seen == RECIPES["igg-1d"].seen("small")


def test_angles_are_typed_in_degrees_and_kept_in_radians():
    seen = _parsed(["hinge", "--rotation-error", "5", "--preferred-spread=30"]).seen
    assert (seen.rotation_error, seen.preferred_spread) == (math.radians(5), math.radians(30))
    assert _parsed(["hinge"]).seen.preferred_spread == Conditions().preferred_spread


def test_help_shows_conditions_of_the_recipe_and_angles_in_degrees(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        _parsed(["hinge", "--tier", "standard", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--rotation-error DEGREES" in said
    assert "(default: 11.46)" in said
    assert "(default: 0.051)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--particles", "real.star", "--pixel-size", "2"], "--pixel-size 2 was given, but real.star says"),
        (["--measure-noise"], "--measure-noise was given without images to measure; name their file"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["simulate", "hinge", *words])
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_does_go_together_is_taken():
    options = _parsed(["hinge", "--particles", "real.star", "--measure-noise", "--box", "32"])
    assert isinstance(options, SimulateOptions)
    assert (options.measure_noise, options.box) == (True, 32)
