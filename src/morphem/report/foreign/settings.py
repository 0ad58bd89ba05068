"""The settings that cryoDRGN leaves in ``config.yaml``: sections of plain values, no other YAML."""

from __future__ import annotations

import re
from pathlib import Path

_SECTION = re.compile(r"(\w+):\s*$")
_ENTRY = re.compile(r"  (\w+):(?: (.*))?$")
_TOP = re.compile(r"(\w+): (.+)$")
_MORE = re.compile(r"   +(?! |- )(.*)$")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\s*\n\s*|.)")


def read_settings(path: Path) -> dict[str, str]:
    """Values as text by ``section.name``, and ``name`` at the top; lists and null are left out.

    Made for files as PyYAML writes them: two spaces a level, long text continued on deeper lines.
    """
    found: dict[str, str] = {}
    section, last = "", ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _SECTION.match(line):
            section, last = match[1], ""
        elif match := _TOP.match(line):
            section, last = "", match[1]
            found[last] = match[2]
        elif section and (match := _ENTRY.match(line)):
            last = f"{section}.{match[1]}"
            found[last] = match[2] or ""
        elif found.get(last) and (match := _MORE.match(line)):
            found[last] += f" {match[1]}"
        else:
            last = ""
    plain = {name: _plain(text) for name, text in found.items()}
    return {name: text for name, text in plain.items() if text is not None}


def _plain(text: str) -> str | None:
    """What a scalar says; None for nothing, and for what is no scalar."""
    text = text.strip()
    if text in ("", "null", "~", "Null", "NULL") or text[0] in "[{&*!|>":
        return None
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(_unescaped, text[1:-1])
    return text


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "ux" and len(code) > 1:
        return chr(int(code[1:], 16))
    return {"n": "\n", "t": "\t", " ": " "}.get(code, code)
