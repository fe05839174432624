"""A run that cannot reach any network: a hook in every Python process, and no interfaces where the system allows it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HOOK = """
import os, sys

def deny(event, arguments):
    if event == "socket.connect":
        where = arguments[1]
        if isinstance(where, (str, bytes)) or str(where[0]).startswith("127.") or where[0] in ("::1", "localhost"):
            return
    elif event == "socket.getaddrinfo":
        where = arguments[0]
        if where in (None, "localhost", "127.0.0.1", "::1", b"localhost"):
            return
    elif event not in ("socket.sendto", "socket.gethostbyname", "urllib.Request", "http.client.connect"):
        return
    else:
        where = arguments[-1]
    with open(os.environ["DENIED"], "a") as file:
        file.write(f"{event} {where}\\n")
    raise OSError(f"this process may not reach {where}")

sys.addaudithook(deny)
"""


def environment(folder: Path) -> dict[str, str]:
    """An environment in which every Python process refuses to connect and writes to `folder`/denied.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "DENIED": str(folder / "denied.txt")}


def no_interfaces() -> list[str]:
    """What to put before a command so that it has no network at all; empty where this user may not."""
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        try:
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                return words
        except FileNotFoundError:
            break
    return []


def attempts(folder: Path) -> list[str]:
    """What tried to connect."""
    path = folder / "denied.txt"
    return path.read_text().splitlines() if path.exists() else []
