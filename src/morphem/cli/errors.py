"""One clear message for what a user can mend."""

from __future__ import annotations

import errno
import re

_CODED = re.compile(r"E-[A-Z]+-[A-Z0-9]+ ")
_DEBUG = "(add --debug to see where it happened; a run also keeps that in its log.txt)"


def explain(error: Exception) -> str:
    """``E-CODE message`` and what to do, for any error that reaches the command line."""
    text = str(error) or type(error).__name__
    if _CODED.match(text):
        return f"{text}\n{_DEBUG}"
    return f"{_coded(error, text)}\n{_DEBUG}"


def _coded(error: Exception, text: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"E-PATH-001 {error.filename or text}: there is no such file; check the path"
    if isinstance(error, OSError):
        return _disk(error, text)
    if isinstance(error, ImportError):
        return f"E-INSTALL-001 {text}; `morphem doctor` tells what is missing"
    return f"E-VALUE-001 {text}"


def _disk(error: OSError, text: str) -> str:
    where = error.filename or "the disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"E-DISK-001 {where}: no space left; make room, then give the same command to go on"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"E-DISK-002 {where}: no permission; choose another folder or ask its owner"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"E-DISK-002 {where}: a file is where a folder should be; choose another folder"
    return f"E-DISK-003 {text}"
