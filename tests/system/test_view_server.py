"""``morphem view`` as it runs: who it answers, what it answers, how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from command import Answer, finish, start

from morphem.data.metadata import read_metadata
from morphem.data.mrc import write_map
from morphem.report.api import load, reconstruct
from morphem.report.scene.build import build_scene
from morphem.report.scene.frame import Frame, encode
from morphem.report.scene.run import shown_run
from morphem.report.selection import read_selection

pytestmark = pytest.mark.slow

SMALL = {
    "latent": 2,
    "parts__gaussians": 48,
    "parts__hidden": 16,
    "fine__gaussians": 64,
    "fine__hidden": 16,
    "fine__layers": 1,
    "parts_descent__epochs": 1,
    "parts_descent__batch_size": 32,
    "fine_descent__epochs": 1,
    "fine_descent__batch_size": 32,
    "anchors__count": 2,
}
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)")
PATIENCE = 120  # seconds until a server must have come as far as it is waited for
POSTS = ("map", "subset", "montage", "select", "export")
GETS = ("/api/scene", "/api/array/mean", "/")


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    token: str
    said: str

    @property
    def origin(self) -> str:
        """Of its pages."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        """One that is let in."""
        own = {"Authorization": f"Bearer {self.token}", "Origin": self.origin}
        return httpx.Client(base_url=self.origin, headers={**own, **headers}, timeout=PATIENCE)

    def raw(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """A request whose path nobody has tidied up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in {"Authorization": f"Bearer {self.token}", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> Answer:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return finish(self.process)


def serve(*words: object) -> Server:
    """Start a server and wait for its address."""
    process = start("view", *words, "--no-open")
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl-C"):
            found = ADDRESS.search(said)
            assert found is not None, said
            return Server(process, int(found[1]), found[2], said)
    raise AssertionError(f"{said}{process.communicate()}")


@pytest.fixture(scope="module")
def run(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds."""
    out = tmp_path_factory.mktemp("viewed") / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reconstruct("cryospire", simulated / "particles.star", out, "paper", **SMALL)
    return out


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    running = serve(run)
    yield running
    answer = running.stop()
    assert answer.status == 0, answer


@pytest.fixture(scope="module")
def scene(server: Server) -> dict[str, Any]:
    with server.client() as client:
        return client.get("/api/scene").json()


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A packet, read as the page reads it."""
    (length,) = struct.unpack_from("<I", content)
    header, at, arrays = json.loads(content[4 : 4 + length]), 4 + -(-length // 4) * 4, {}
    for each in header["arrays"]:
        kind = {"uint8": "<u1", "int32": "<i4", "float32": "<f4"}[each["kind"]]
        array = np.frombuffer(content, kind, int(np.prod(each["shape"], dtype=int)), at)
        arrays[each["name"]], at = array.reshape(each["shape"]), at + -(-array.nbytes // 4) * 4
    assert at == len(content)
    return header, arrays


def frame_of(scene: dict[str, Any]) -> Frame:
    return Frame(**{name: tuple(v) if isinstance(v, list) else v for name, v in scene["maps"].items()})


def indices(count: int) -> bytes:
    return np.arange(count, dtype="<i4").tobytes()


# who is answered


@pytest.mark.parametrize("path", GETS)
def test_without_the_token_nothing_is_shown(server: Server, path: str):
    answer = httpx.get(server.origin + path)
    assert answer.status_code == 401
    assert "cryospire" not in answer.text
    assert server.token not in answer.text


@pytest.mark.parametrize("name", POSTS)
def test_without_the_token_nothing_is_done(server: Server, run: Path, name: str):
    before = sorted(run.rglob("*"))
    assert httpx.post(f"{server.origin}/api/{name}", content=indices(3)).status_code == 401
    assert sorted(run.rglob("*")) == before


def test_another_token_is_refused_wherever_it_stands(server: Server):
    wrong = server.token[:-1] + ("A" if server.token[-1] != "A" else "B")
    assert server.raw("/api/scene", Authorization=f"Bearer {wrong}")[0] == 403
    assert httpx.get(f"{server.origin}/?token={wrong}").status_code == 403
    assert httpx.get(f"{server.origin}/api/scene?token={server.token}").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_name_that_points_here_but_is_not_ours_is_refused(server: Server, host: str):
    assert server.raw("/api/scene", Host=host)[0] in (400, 403)
    assert server.raw(f"/?token={server.token}", Host=host)[0] in (400, 403)
    assert server.raw("/api/scene", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
@pytest.mark.parametrize("name", POSTS)
def test_a_page_of_another_origin_is_refused(server: Server, name: str, origin: str):
    with server.client(Origin=origin) as client:
        assert client.post(f"/api/{name}", content=b"{}").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../run.json",
        "/%2e%2e/run.json",
        "/api/array/%2e%2e%2frun.json",
        "/api/array/%2e%2e/%2e%2e/run.json",
        "/api/array/..\\run.json",
        "/api/array//etc/passwd",
        "/api/array/%2fetc%2fpasswd",
        "/api/array/file:%2f%2f%2fetc%2fpasswd",
        "/api/array/mean%00.mrc",
        "/api/array/%ff%fe",
        "//etc/passwd",
        "/run.json",
        "/api/",
        "/api/array/",
        "/api/select/state",
        "/assets/page.js",
    ],
)
def test_a_path_that_is_no_route_leads_nowhere(server: Server, path: str):
    status, body = server.raw(path)
    assert status == 404
    assert b"root:" not in body
    assert b"identity" not in body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_other_methods_are_refused(server: Server, method: str):
    assert server.raw("/api/scene", method)[0] == 405
    assert server.raw("/api/map")[0] == 405


def test_a_body_that_is_too_large_is_refused_also_where_its_length_is_not_told(server: Server):
    with server.client() as client:
        assert client.post("/api/select", content=b"x" * (2 << 20)).status_code == 413
        blocks = (b"x" * 4096 for _ in range(1000))
        assert client.post("/api/select", content=blocks).status_code == 413
        assert client.get("/api/scene").status_code == 200


def test_every_answer_tells_browsers_to_be_careful(server: Server):
    with server.client() as client:
        answers = [client.get(path) for path in ("/api/scene", "/nowhere", "/")]
    answers.append(httpx.get(f"{server.origin}/?token={server.token}"))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_is_one_file_that_asks_this_server_only(server: Server):
    page = httpx.get(f"{server.origin}/?token={server.token}")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["'](?!data:)""", page.text)
    assert server.token not in page.text


# what is answered


def test_the_scene_is_the_one_that_is_built_of_the_run(server: Server, run: Path, scene: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = build_scene(shown_run(run), live=True)
    assert scene == json.loads(json.dumps(expected.record))
    assert scene["live"] is True
    with server.client() as client:
        for name, array in expected.arrays.items():
            np.testing.assert_array_equal(
                np.frombuffer(client.get(f"/api/array/{name}").content, array.dtype), array.ravel(), name
            )


def test_what_a_browser_has_is_not_sent_again(server: Server):
    with server.client() as client:
        for path in ("/api/scene", "/api/array/mean"):
            first = client.get(path)
            assert first.status_code == 200
            again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
            plain = client.get(path, headers={"Accept-Encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert plain.content == first.content


def test_the_map_of_a_latent_is_the_decoded_one_within_a_step(
    server: Server, run: Path, scene: dict[str, Any]
):
    found, frame = load(run), frame_of(scene)
    generator = torch.Generator().manual_seed(0)
    with server.client() as client:
        for z in [found.latents[3], found.latents.mean(0) + torch.randn(2, generator=generator)]:
            header, arrays = unpacked(client.post("/api/map", json={"latent": z.tolist()}).content)
            assert header["map"]["voxels"] == header["arrays"][0]
            expected = encode(found.volume(z), frame)
            assert arrays["map"].shape == expected.shape
            assert int(np.abs(arrays["map"].astype(int) - expected.astype(int)).max()) <= 1
            assert expected.max() > 100


def test_parts_are_labelled_in_the_map_as_in_the_scene(server: Server, scene: dict[str, Any]):
    assert scene["parts"]
    with server.client() as client:
        state = scene["states"][0]
        header, arrays = unpacked(client.post("/api/map", json={"latent": state["latent"]}).content)
        reference = state["map"]["labels"]
        told = np.frombuffer(client.get(f"/api/array/{reference['name']}").content, np.uint8)
    assert header["map"]["labels"]["name"] == "labels"
    labels = arrays["labels"].ravel()
    assert set(np.unique(labels)) <= {0, *(part["number"] for part in scene["parts"])}
    both = (labels > 0) & (told > 0)
    # by density here, by the nearest Gaussian there: they part at borders between parts
    assert (labels[both] == told[both]).mean() > 0.8


def test_many_askers_get_each_their_own_map(server: Server, run: Path, scene: dict[str, Any]):
    found, frame = load(run), frame_of(scene)
    latents = found.latents[:16]
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        replies = pool.map(lambda z: client.post("/api/map", json={"latent": z}).content, latents.tolist())
        for z, reply in zip(latents, replies, strict=True):
            codes = unpacked(reply)[1]["map"].astype(int)
            assert int(np.abs(codes - encode(found.volume(z), frame)).max()) <= 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1, 2]", b'{"latent": [1]}', b'{"latent": [1, "2"]}', b'{"latent": [1, NaN]}',
     b'{"latent": [1, 1e999]}', b'{"latent": [1, true]}', b"[" * 100_000],
    ids=range(9),
)  # fmt: skip
def test_a_latent_that_is_none_is_told_of_in_a_sentence(server: Server, body: bytes):
    with server.client() as client:
        answer = client.post("/api/map", content=body)
    assert answer.status_code == 400
    assert re.fullmatch(r"[^\n]{10,200}", answer.json()["error"])


def test_a_subset_is_averaged_from_its_images(server: Server, scene: dict[str, Any]):
    with server.client() as client:
        header, arrays = unpacked(client.post("/api/subset", content=indices(150)).content)
        same, _ = unpacked(client.post("/api/subset", content=indices(150)).content)
    assert (header["used"], header["asked"]) == (150, 150)
    assert header == same
    frame = frame_of(scene)
    assert arrays["map"].shape == frame.shape
    # of 150 noisy images the molecule is where the mean map has it
    mean = np.frombuffer(server.raw("/api/array/mean")[1], np.uint8).reshape(frame.shape).astype(float)
    assert np.corrcoef(arrays["map"].ravel(), mean.ravel())[0, 1] > 0.6


def test_pictures_of_particles_are_as_recorded_filtered_and_modelled(server: Server, simulated: Path):
    with server.client() as client:
        header, arrays = unpacked(client.post("/api/montage", content=indices(100)).content)
    assert len(header["rows"]) == 24
    assert {array.shape for array in arrays.values()} == {(24, header["box"], header["box"])}
    stack = np.fromfile(simulated / "particles.mrcs", "<f4", offset=1024).reshape(-1, 32, 32)
    np.testing.assert_allclose(arrays["raw"], stack[header["rows"]], atol=1e-5)
    pairs = zip(arrays["filtered"], arrays["model"], strict=True)
    seen = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
    # a run of one epoch on noisy images knows little, but something: five standard errors
    assert np.mean(seen) > 5 * np.std(seen) / 24**0.5


@pytest.mark.parametrize("name", ["subset", "montage"])
@pytest.mark.parametrize(
    "rows",
    [b"", b"abc", struct.pack("<i", 200), struct.pack("<i", -1)],
    ids=["none", "bytes", "over", "under"],
)
def test_particles_that_are_none_are_told_of_in_a_sentence(server: Server, name: str, rows: bytes):
    with server.client() as client:
        answer = client.post(f"/api/{name}", content=rows)
    assert answer.status_code == 400
    assert "particles are asked for" in answer.json()["error"]


def selection(scene: dict[str, Any], name: str, **changed: object) -> dict[str, Any]:
    record = {
        "schema": 1,
        "name": name,
        "run": scene["title"],
        "count": scene["particles"]["count"],
        "made": {"how": "lasso", "x": "z1", "y": "z2", "polygon": [[0, 0], [1, 0], [0, 1]]},
        "particles": [0, 5, 7, 199],
    }
    return {**record, **changed}


def test_a_selection_is_kept_read_back_and_exported(
    server: Server, run: Path, scene: dict[str, Any], tmp_path: Path
):
    with server.client() as client:
        kept = client.post("/api/select", json=selection(scene, "lassoed"))
        assert kept.status_code == 200, kept.text
        assert Path(kept.json()["file"]) == run / "select" / "lassoed.json"
        assert any("--select lassoed" in each["command"] for each in kept.json()["commands"])
        assert read_selection(run, "lassoed").particles.tolist() == [0, 5, 7, 199]
        file = client.post("/api/export", json={"select": "lassoed", "to": "star"})
    assert file.headers["content-disposition"] == 'attachment; filename="lassoed.star"'
    (tmp_path / "lassoed.star").write_bytes(file.content)
    assert read_metadata(tmp_path / "lassoed.star").image_index.tolist() == [0, 5, 7, 199]


def test_no_selection_is_overwritten_without_being_told(server: Server, run: Path, scene: dict[str, Any]):
    with server.client() as client:
        for _ in range(2):  # the same particles are no conflict
            assert client.post("/api/select", json=selection(scene, "twice")).status_code == 200
        other = selection(scene, "twice", particles=[1])
        assert client.post("/api/select", json=other).status_code == 409
        assert len(read_selection(run, "twice").particles) == 4
        assert client.post("/api/select", json={**other, "overwrite": True}).status_code == 200
    assert read_selection(run, "twice").particles.tolist() == [1]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../../evil"},
        {"name": "a/b"},
        {"name": ""},
        {"name": ".hidden"},
        {"name": "nul\0"},
        {"name": "x" * 65},
        {"count": 7},
        {"run": "another"},
        {"particles": [200]},
        {"particles": [0.5]},
        {"particles": "all"},
        {"schema": 2},
    ],
    ids=str,
)
def test_a_selection_that_is_none_leaves_no_trace(
    server: Server, run: Path, scene: dict[str, Any], changed: dict[str, object]
):
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    with server.client() as client:
        answer = client.post("/api/select", json={**selection(scene, "fine"), **changed})
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"select": "../run", "to": "star"},
        {"select": "missing", "to": "star"},
        {"select": "a", "to": "py"},
    ],
)
def test_an_export_of_nothing_is_told_of_in_a_sentence(server: Server, asked: dict[str, str]):
    with server.client() as client:
        answer = client.post("/api/export", json=asked)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10


# how it begins and ends


def test_a_port_that_is_taken_is_told_of_at_once(server: Server, run: Path):
    answer = finish(start("view", run, "--port", server.port, "--no-open"))
    assert answer.status == 1
    assert answer.codes == ["E-VIEW-002"]
    assert f"port {server.port} of 127.0.0.1 is taken" in answer.err
    assert "Traceback" not in answer.err
    assert "decoded" not in answer.err  # before any work is done


def test_the_address_and_the_way_there_from_elsewhere_are_printed(server: Server):
    assert f"http://127.0.0.1:{server.port}/?token={server.token}" in server.said
    assert f"ssh -N -L {server.port}:127.0.0.1:{server.port} " in server.said
    assert len(server.token) >= 43


@pytest.fixture
def maps(run: Path, tmp_path: Path) -> Path:
    """What another program might have left: quick to open."""
    found = load(run)
    (tmp_path / "maps").mkdir()
    for k in (1, 2):
        write_map(tmp_path / "maps" / f"vol_{k}.mrc", found.volume(found.latents[k]))
    rows = "".join(f"vol_{k},{k},0.5,group {k}\n" for k in (1, 2))
    (tmp_path / "maps" / "maps.csv").write_text(f"map,z1,score,kind\n{rows}")
    return tmp_path / "maps"


def test_ctrl_c_ends_it_in_one_line(maps: Path):
    answer = serve(maps).stop()
    assert answer.status == 0
    assert answer.out.splitlines() == ["closed"]
    assert "Traceback" not in answer.err


def test_ctrl_c_ends_it_also_while_it_works(run: Path):
    running = serve(run)
    with running.client() as client:
        asker = threading.Thread(target=_ask_on, args=(client,))
        asker.start()
        time.sleep(0.5)
        answer = running.stop()
        asker.join()
    assert answer.status == 0, answer
    assert answer.out.splitlines() == ["closed"]
    assert "Traceback" not in answer.err


def _ask_on(client: httpx.Client) -> None:
    """Look at images until nobody answers."""
    with suppress(httpx.HTTPError):
        while True:
            client.post("/api/montage", content=indices(200))


def test_when_nobody_asks_it_ends_by_itself(maps: Path):
    answer = finish(start("view", maps, "--no-open", "--idle", 0.02))
    assert answer.status == 0, answer
    assert "closed after 0.02 minutes without a request" in answer.out


def test_maps_of_another_program_are_shown_and_what_they_cannot_tell_is_said(maps: Path):
    running = serve(maps)
    with running.client() as client:
        scene = client.get("/api/scene").json()
        assert [state["name"] for state in scene["states"]] == ["vol_1", "vol_2"]
        assert [state["latent"] for state in scene["states"]] == [[1.0], [2.0]]
        for name, body in (("map", b'{"latent": [1]}'), ("subset", indices(2)), ("montage", indices(2))):
            answer = client.post(f"/api/{name}", content=body)
            assert answer.status_code == 409
            assert re.fullmatch(r"E-VIEW-003 [^\n]+", answer.json()["error"])
        assert (
            client.post("/api/select", json=selection(scene, "no", count=2, particles=[0])).status_code == 409
        )
    assert running.stop().status == 0
    assert sorted(path.name for path in maps.iterdir()) == ["maps.csv", "vol_1.mrc", "vol_2.mrc"]


def test_a_folder_of_nothing_is_refused_with_what_was_looked_for(tmp_path: Path):
    answer = finish(start("view", tmp_path, "--no-open"))
    assert (answer.status, answer.codes) == (1, ["E-VIEW-004"])
    assert "z.N.pkl" in answer.err
