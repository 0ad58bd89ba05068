"""How a browser is led to an address that holds a token."""

from __future__ import annotations

import stat
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from morphem.report.viewer.browser import has_screen, opened
from morphem.report.viewer.serving import bind


def test_the_token_is_in_a_file_of_the_owner_and_in_no_argument(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: asked.append(address) or True)
    with opened("http://127.0.0.1:80/?token=a&b=<c>"):
        assert "token" not in asked[0]
        file = Path(unquote(urlsplit(asked[0]).path))
        assert "url=http://127.0.0.1:80/?token=a&amp;b=&lt;c&gt;" in file.read_text()
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.exists()


def test_no_browser_is_opened_where_nobody_would_see_it():
    assert has_screen({"DISPLAY": ":0"})
    assert not has_screen({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 22"})


def test_a_free_port_is_found_and_told():
    bound = bind("127.0.0.1", 0)
    bound.listener.close()
    assert bound.port > 0
    assert bound.address("t") == f"http://127.0.0.1:{bound.port}/?token=t"
    assert f"ssh -N -L {bound.port}:127.0.0.1:{bound.port} " in bound.tunnel()
    assert not bound.is_open


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 0), ("no.such.name.invalid", 0), ("127.0.0.1", 1 << 17)]
)
def test_an_address_that_is_not_ours_is_refused(host: str, port: int):
    with pytest.raises(ValueError, match="E-VIEW-002"):
        bind(host, port)
