"""Who is let in, and who is not."""

from __future__ import annotations

import pytest

from morphem.report.viewer.gate import Gate, names_of, new_token

TOKEN = "right"
GATE = Gate(TOKEN, names_of("127.0.0.1"), 100)
OWN = {"host": "127.0.0.1:8000", "authorization": f"Bearer {TOKEN}"}


def status(method: str = "GET", path: str = "/api/scene", query: str = "", **headers: str) -> int:
    """200 where a request is let in; a header of no text is left out."""
    sent = {**OWN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    refusal = GATE.refuse(
        method, path, query.encode(), {name: value for name, value in sent.items() if value}
    )
    return 200 if refusal is None else refusal.status


def test_what_shows_the_token_is_let_in():
    assert status() == 200
    assert status("POST", content_length="100", origin="http://127.0.0.1:8000") == 200
    assert status(path="/", query=f"token={TOKEN}", authorization="") == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Basic {TOKEN}", TOKEN])
def test_without_a_token_it_is_401(authorization: str):
    assert status(authorization=authorization) == 401


@pytest.mark.parametrize("token", ["wrong", "Right", f"{TOKEN}x", TOKEN[:-1], "é", "\udce9"])
def test_with_another_token_it_is_403(token: str):
    assert status(authorization=f"Bearer {token}") == 403


def test_the_page_takes_its_token_from_the_address_and_nothing_else_does():
    assert status(query=f"token={TOKEN}", authorization="") == 401
    assert status(path="/") == 401
    assert status(path="/", query="token=wrong") == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "@evil.example", "a@b"]
)
def test_by_another_name_nothing_is_answered(host: str):
    assert status(host=host) == 403


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_this_machine_is_known_by_its_own_names_on_any_port(host: str):
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:9000",
        "null",
        "http://localhost:8000",
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str):
    assert status("POST", content_length="2", origin=origin) == 403


def test_a_browser_that_says_the_page_is_of_another_site_is_believed():
    assert status(sec_fetch_site="cross-site") == 403
    assert status(sec_fetch_site="same-site") == 403
    assert status(sec_fetch_site="same-origin") == 200
    assert status(path="/", query=f"token={TOKEN}", sec_fetch_site="cross-site") == 200  # a link was followed


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "get"])
def test_other_methods_are_refused(method: str):
    assert status(method) == 405


@pytest.mark.parametrize("length", ["101", "-1", "1e1", "9" * 30])
def test_what_is_too_long_is_refused_before_it_is_read(length: str):
    assert status("POST", content_length=length) == 413


def test_on_all_addresses_the_machine_is_known_by_all_its_names_and_no_other():
    everywhere = names_of("0.0.0.0")
    assert {"localhost", "127.0.0.1"} < everywhere
    assert not {"0.0.0.0", "::", ""} & everywhere
    assert "evil.example" not in everywhere
    assert names_of("Lab.Example") == {"lab.example", "localhost", "127.0.0.1", "::1"}


def test_tokens_are_long_and_each_another():
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43  # 256 bits in base64
