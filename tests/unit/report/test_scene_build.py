"""Scenes of results: true to the declaration that pages read, honest about maps, no larger than allowed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scene_cases import GRID, blobs, linear_density, moving_parts, shown_states

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.physics.gaussians import rasterise
from morphem.report.scene.build import Scene, build_scene
from morphem.report.scene.exhibits import packed_size
from morphem.report.scene.frame import Frame, decode
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.parts import behaviour_of, labels_at, part_columns
from morphem.report.scene.records import plain
from morphem.report.scene.shown import FixedMap, Shown

DECLARED = Path(__file__).parents[3] / "web" / "src" / "scene.ts"
OPTIONS = SceneOptions(states=2, steps=3)
TOKEN = re.compile(r'"[^"]*"|\w+|[{}\[\]();:,|?]')


class Declarations:
    """The interfaces and type aliases of a TypeScript file, enough to tell whether a value is of a type."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
        self.types: dict[str, Any] = {}
        pattern = r"export (?:interface (\w+)(?: extends (\w+))? (?=\{)|type (\w+) =)"
        for match in re.finditer(pattern, text):
            self.tokens = TOKEN.findall(text[match.end() :])
            parent = self.types[match[2]][1] if match[2] else {}
            kind = self.union()
            self.types[match[1] or match[3]] = ("object", {**parent, **kind[1]}) if match[1] else kind

    def take(self, token: str | None = None) -> str:
        met = self.tokens.pop(0)
        assert token is None or met == token, f"{met} where {token} was expected"
        return met

    def union(self) -> Any:
        kinds = [self.one()]
        while self.tokens and self.tokens[0] == "|":
            self.take()
            kinds.append(self.one())
        return kinds[0] if len(kinds) == 1 else ("union", kinds)

    def one(self) -> Any:
        token = self.take()
        if token == "{":
            kind: Any = ("object", dict(self.fields()))
        elif token == "[":
            kind = ("tuple", list(self.listed()))
        else:
            kind = ("literal", token[1:-1]) if token[0] == '"' else ("name", token)
        while self.tokens[:2] == ["[", "]"]:
            del self.tokens[:2]
            kind = ("array", kind)
        return kind

    def fields(self) -> Iterator[tuple[str, tuple[bool, Any]]]:
        while self.tokens[0] != "}":
            name = self.take()
            optional = self.tokens[0] == "?" and bool(self.take())
            self.take(":")
            yield name, (optional, self.union())
            if self.tokens[0] in ";,":
                self.take()
        self.take("}")

    def listed(self) -> Iterator[Any]:
        while self.tokens[0] != "]":
            yield self.union()
            if self.tokens[0] == ",":
                self.take()
        self.take("]")

    def complaints(self, value: Any, kind: Any, where: str = "scene") -> list[str]:
        """What of a value is not as its type says."""
        form, detail = kind
        if form == "name" and detail in self.types:
            return self.complaints(value, self.types[detail], where)
        if form == "union":
            tried = [self.complaints(value, each, where) for each in detail]
            return min(tried, key=len)
        if form == "object":
            return self.of_object(value, detail, where)
        if form in ("array", "tuple"):
            if not isinstance(value, list) or (form == "tuple" and len(value) != len(detail)):
                return [f"{where} is no {form}"]
            kinds = detail if form == "tuple" else [detail] * len(value)
            pairs = enumerate(zip(value, kinds, strict=True))
            return [bad for k, (each, own) in pairs for bad in self.complaints(each, own, f"{where}[{k}]")]
        return [] if self.is_plain(value, form, detail) else [f"{where} is {value!r}, no {detail}"]

    def of_object(self, value: Any, fields: dict[str, Any], where: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        missing = [name for name, (optional, _) in fields.items() if name not in value and not optional]
        found = [f"{where} lacks {name}" for name in missing]
        found += [f"{where} has {name}, which is not declared" for name in value if name not in fields]
        for name, (_, kind) in fields.items():
            if name in value:
                found += self.complaints(value[name], kind, f"{where}.{name}")
        return found

    def is_plain(self, value: Any, form: str, detail: str) -> bool:
        if form == "literal":
            return value == detail
        if detail.isdecimal():
            return value == int(detail)
        if detail == "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        return {"string": isinstance(value, str), "boolean": isinstance(value, bool), "null": value is None}[
            detail
        ]


@pytest.fixture(scope="module")
def declared() -> Declarations:
    return Declarations(DECLARED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shown() -> Shown:
    return shown_states(600)


@pytest.fixture(scope="module")
def scene(shown: Shown) -> Scene:
    return build_scene(shown, OPTIONS)


def with_parts() -> Shown:
    """A result of a mixture that knows its parts."""
    density, latents = moving_parts(), torch.randn(80, 1, generator=torch.Generator().manual_seed(0))
    rows = [
        {"part": k, "mass": 0.5, "gaussians": 30, "centre": [0.0] * 3, "rotation_degrees": 9.0, "travel": 1.0}
        for k in (1, 2)
    ]
    columns, told = part_columns(density, latents, rows)
    return Shown(
        "parts", "", latents, GRID, lambda z: density.volume(z, GRID),
        lambda z, grid: labels_at(density, z, grid), columns=columns, record={"parts": told},
    )  # fmt: skip


def folder_of_maps() -> Shown:
    """Maps without latents."""
    density = linear_density()
    maps = [FixedMap(f"map {k}", density.volume(torch.tensor([k, 0.0]), GRID)) for k in (-1.0, 1.0)]
    return Shown("maps", "a folder", torch.zeros(0, 0), GRID, fixed=tuple(maps))


def without_decoder() -> Shown:
    """Maps whose latents are known, and particles."""
    given = shown_states(200, with_images=False)
    assert given.decode is not None
    places = [torch.tensor([k, 0.0]) for k in (-1.0, 1.0)]
    fixed = tuple(FixedMap(f"vol_{k}", given.decode(z), z) for k, z in enumerate(places))
    return replace(given, decode=None, fixed=fixed)


def of_one_map() -> Shown:
    given = shown_states(200)
    one = linear_density().volume(torch.zeros(2), GRID)
    record = {"fsc": {"frequency": [0.0, 0.1, 0.2], "fsc": [1.0, 0.9, float("nan")], "resolution": 9.5}}
    return replace(given, latents=torch.zeros(200, 0), decode=lambda z: one, record=record)


EVERY_KIND = [shown_states, with_parts, folder_of_maps, without_decoder, of_one_map]


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("live", [False, True])
def test_a_scene_is_what_typescript_declares(kind: Any, live: bool, declared: Declarations):
    scene = build_scene(kind(), OPTIONS, live)
    record = json.loads(json.dumps(scene.record, allow_nan=False))
    assert declared.complaints(record, ("name", "Scene")) == []
    assert record["live"] is live


@pytest.mark.parametrize(
    "spoil", [lambda r: r.pop("maps"), lambda r: r.update(extra=1), lambda r: r.update(live=1)]
)
def test_a_scene_that_drifts_from_the_declaration_is_seen(spoil: Any, scene: Scene, declared: Declarations):
    record = json.loads(json.dumps(scene.record))
    spoil(record)
    assert len(declared.complaints(record, ("name", "Scene"))) == 1


def references(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if set(value) == {"name", "kind", "shape"}:
            yield value
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_array_is_there_as_it_is_referred_to_and_none_is_idle(kind: Any):
    scene = build_scene(kind(), OPTIONS)
    told = {each["name"]: each for each in references(scene.record)}
    assert set(told) == set(scene.arrays)
    for name, array in scene.arrays.items():
        assert (told[name]["kind"], tuple(told[name]["shape"])) == (array.dtype.name, array.shape)


def test_states_hold_their_particles_maps_and_pictures(shown: Shown, scene: Scene):
    assert [state["particles"] for state in scene.record["states"]] == [300, 300]
    maps = scene.record["maps"]
    frame = Frame(**{**maps, "first": tuple(maps["first"]), "shape": tuple(maps["shape"])})
    for state in scene.record["states"]:
        assert shown.decode is not None
        expected = shown.decode(torch.tensor(state["latent"])).voxels[frame.crop].clamp(frame.low, frame.high)
        there = decode(scene.arrays[state["map"]["voxels"]["name"]], frame)
        assert (there - expected).abs().max() < 0.01 * frame.high
        heads = [base64.b64decode(picture.partition(",")[2])[:4] for picture in state["pictures"]]
        assert heads == [b"\x89PNG"] * 3


def test_maps_that_are_those_of_the_images_agree_with_them(scene: Scene):
    for state in scene.record["states"]:
        assert state["resolution"] <= 20  # Å; Gaussians of 9 Å have nothing finer
        assert state["agreement"] <= 1.5 * state["resolution"]
    titles = {each["title"] for each in scene.record["findings"]}
    assert {
        "Maps of states agree with their images",
        "Differences between states are in the images",
    } <= titles


def test_a_decoder_that_shows_something_else_is_found_out(shown: Shown):
    density = linear_density()
    swapped = replace(shown, decode=lambda z: density.volume(-z, GRID))
    record = build_scene(swapped, OPTIONS).record
    titles = {each["title"] for each in record["findings"] if each["verdict"] == "warning"}
    assert "The model's differences are not those of the images" in titles
    upside_down = Volume(density.volume(torch.zeros(2), GRID).voxels.flip(0, 1), GRID)
    wrong = build_scene(replace(shown, decode=lambda z: upside_down), OPTIONS).record
    titles = {each["title"] for each in wrong["findings"] if each["verdict"] == "warning"}
    assert {"state_1 does not show what its images do", "state_2 does not show what its images do"} <= titles


def test_without_images_states_are_not_measured_and_it_is_said():
    record = build_scene(shown_states(300, with_images=False), OPTIONS).record
    assert [(state["resolution"], state["agreement"]) for state in record["states"]] == [(None, None)] * 2
    assert record["coverage"]["views"] is None
    assert "Nothing was held against the images" in {each["title"] for each in record["findings"]}


def test_one_map_takes_its_resolution_from_the_run():
    record = build_scene(of_one_map(), OPTIONS).record
    assert [(state["name"], state["resolution"]) for state in record["states"]] == [("all particles", 9.5)]
    assert record["mean"] == record["states"][0]["map"]
    assert record["series"] == []


def test_curves_skip_what_is_no_number():
    record = build_scene(of_one_map(), OPTIONS).record
    line = record["curves"][0]["lines"][0]
    assert line == {"label": "unmasked", "x": [0.1], "y": [0.9]}


def test_loss_goes_on_from_stage_to_stage(shown: Shown):
    history = {
        "one": [{"epoch": 1, "image": 5.0}, {"epoch": 2, "image": 4.0}],
        "two": [{"epoch": 1, "image": 3.0}],
    }
    record = build_scene(replace(shown, record={"history": history}), replace(OPTIONS, measured=0)).record
    curve = next(curve for curve in record["curves"] if curve["name"] == "loss_image")
    assert [line["x"] for line in curve["lines"]] == [[600, 1200], [1800]]


def test_views_are_counted_once_each_by_where_they_point(shown: Shown):
    assert shown.poses is not None
    turned = torch.eye(3).repeat(600, 1, 1)  # all along z
    record = build_scene(
        replace(shown, poses=replace(shown.poses, rotation=turned)), replace(OPTIONS, measured=0)
    ).record
    counts = np.array(record["coverage"]["views"]["counts"])
    assert counts[-1].sum() == 600 == counts.sum()
    edges = np.sin(np.radians(record["coverage"]["views"]["latitudes"]))
    np.testing.assert_allclose(np.diff(edges), 2 / len(counts), atol=1e-3)  # six digits: cells of one area


def test_parts_are_labelled_coloured_and_followed():
    shown = with_parts()
    scene = build_scene(shown, OPTIONS)
    assert [part["number"] for part in scene.record["parts"]] == [1, 2]
    assert len({part["colour"] for part in scene.record["parts"]}) == 2
    labels = scene.arrays[scene.record["mean"]["labels"]["name"]]
    assert set(np.unique(labels)) == {0, 1, 2}
    names = [column["name"] for column in scene.record["particles"]["columns"]]
    assert {"part1_occupancy", "part1_turn", "part2_turn"} <= set(names)


def test_a_part_is_where_its_gaussians_are():
    density = moving_parts()
    z = torch.zeros(1)
    labels = labels_at(density, z, GRID)
    mixture = density.mixture(z[None])
    zyx = (mixture.centres[0].flip(-1) / GRID.pixel_size).round().long() + GRID.box // 2
    there = labels[tuple(zyx.T)]
    assert (there == density.part + 1).float().mean() > 0.9  # where both parts meet, the nearest decides
    bright = density.volume(z, GRID).voxels
    assert (labels[bright > 0.2 * bright.max()] > 0).all()


def test_turn_and_travel_of_a_part_are_those_of_its_frame():
    density = moving_parts()
    latents = torch.linspace(-1, 1, 41)[:, None]
    found = behaviour_of(density, latents)
    rotation, _ = density.frames(latents)
    rest = rotation[20]  # the latent nearest to the mean
    turn = torch.acos((((rotation * rest).sum((-2, -1)) - 1) / 2).clamp(-1, 1))
    torch.testing.assert_close(found.angle, turn, atol=2e-3, rtol=0)  # arc cosine of float32
    assert float(found.travel[20].max()) < 1e-3


def test_a_report_holds_a_share_of_many_particles_and_a_live_scene_all(declared: Declarations):
    shown = replace(shown_states(3000, with_images=False), columns=())
    report, live = (build_scene(shown, replace(OPTIONS, drawn=1000), live) for live in (False, True))
    drawn = report.arrays["drawn"]
    assert len(drawn) == 1000
    assert (np.diff(drawn) > 0).all()
    table = report.record["particles"]
    assert table["count"] == 3000
    assert live.record["particles"]["drawn"] is None
    for few, every in zip(table["columns"], live.record["particles"]["columns"], strict=True):
        some, all_ = report.arrays[few["values"]["name"]], live.arrays[every["values"]["name"]]
        assert (len(some), len(all_)) == (1000, 3000)
        np.testing.assert_allclose(some, all_[drawn], rtol=2**-12)  # as many bits are kept
    assert "A share of the particles is drawn" in {each["title"] for each in report.record["findings"]}
    assert declared.complaints(json.loads(json.dumps(report.record)), ("name", "Scene")) == []


def test_maps_are_made_coarser_until_they_fit_and_it_is_said():
    generator = torch.Generator().manual_seed(0)
    grid = Grid(64, 3.0)
    clean = rasterise(blobs(0.0), grid).voxels
    noise = 0.15 * clean.max() * torch.rand(10, 64, 64, 64, generator=generator)  # packs worst
    fixed = tuple(FixedMap(f"map {k}", Volume(clean + each, grid)) for k, each in enumerate(noise))
    shown = Shown("noise", "", torch.zeros(0, 0), grid, fixed=fixed)
    scene = build_scene(shown, SceneOptions(megabytes=1.2))
    assert 32 <= scene.record["maps"]["box"] < 64
    assert scene.record["maps"]["box"] * scene.record["maps"]["pixel"] == pytest.approx(grid.extent)
    taken = sum(map(packed_size, scene.arrays.values())) + len(json.dumps(scene.record))
    assert taken < 1.2e6
    assert "Maps are shown coarser than they are" in {each["title"] for each in scene.record["findings"]}
    assert build_scene(shown, SceneOptions(megabytes=1.2), live=True).record["maps"]["box"] == 64


def test_a_record_holds_nothing_that_json_does_not_know():
    value = {"a": [float("inf"), np.float32(0.1), torch.tensor([1.5])], 2: (True, None, 1 / 3)}
    assert plain(value) == {"a": [None, 0.1, [1.5]], "2": [True, None, 0.333333]}
