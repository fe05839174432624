"""No connection leaves the machine; captions and names stay text all the way to the page."""

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.faults import hostile, odd_files, offline

ROOT = Path(__file__).resolve().parents[2]
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 9), timeout=2)"


def test_the_denial_works(tmp_path: Path) -> None:
    """Else a run that passes under it would prove nothing."""
    surroundings = offline.environment(tmp_path)
    for place in ("192.0.2.1", "example.invalid"):
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, place], env=surroundings, capture_output=True, text=True, check=False
        )
        assert done.returncode and "this process may not reach" in done.stderr
    assert len(offline.attempts(tmp_path)) == 2
    local = subprocess.run(
        [sys.executable, "-c", CONNECT, "127.0.0.1"], env=surroundings, capture_output=True, text=True, check=False
    )
    assert "Connection refused" in local.stderr  # the loopback is for ranks


def test_without_interfaces_nothing_answers() -> None:
    words = offline.no_interfaces()
    if not words:
        pytest.skip("this user may not make a network namespace")
    done = subprocess.run(
        [*words, sys.executable, "-c", CONNECT, "192.0.2.1"], capture_output=True, text=True, check=False
    )
    assert "unreachable" in done.stderr


def test_a_run_with_toy_steps_asks_for_no_network(toy: Path, tmp_path_factory) -> None:
    from tests.bench.conftest import RUN

    hook = tmp_path_factory.mktemp("hook")
    surroundings = offline.environment(hook)
    command = [*offline.no_interfaces(), sys.executable, "-m", "tests.bench.toys", *RUN]
    done = subprocess.run(command, cwd=toy, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert offline.attempts(hook) == []


# ---- hostile captions, end to end ----

CAPTIONS = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table><h1>owned</h1>",
    "\"><svg onload=alert(1)>",
    "{{ 7 * 7 }} {% for x in ().__class__.__mro__ %}x{% endfor %}",
    "$(touch owned) `touch owned`; touch owned | touch owned",
    "../../../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "a | b | c\n# Heading\n[link](javascript:alert(1))",
    "\u202egnp.exe \u0000 \u001b[31m half \ud800",
    "javascript:alert(1)",
    "%s %n %(x)s {0} {x!r}",
    "' OR 1=1; --",
    "&lt;b&gt;already escaped&lt;/b&gt;",
    "x" * 5000,
)  # fmt: skip
IDS = [f"video{k}" for k in range(12)] + ["$(touch owned)", "<b>x", "=1+1", "..hidden.."]


def hostile_msrvtt(root: Path) -> Path:
    """A data set in MSR-VTT's layout whose captions and names try everything."""
    root.mkdir()
    sound = odd_files.video(root / "sound.mp4", odd_files.noise(30))
    for name in IDS:
        shutil.copyfile(sound, root / f"{name if not name.startswith('.') else 'up' + name}.mp4")
    sound.unlink()
    names = [name if not name.startswith(".") else "up" + name for name in IDS]
    told = {
        "info": {},
        "videos": [{"video_id": name, "split": "test", "url": f"u{k}", "category": 0} for k, name in enumerate(names)],
        "sentences": [
            {"video_id": n, "caption": c, "sen_id": k} for k, (n, c) in enumerate(zip(names, CAPTIONS, strict=True))
        ],
    }
    (root / "test_videodatainfo.json").write_text(json.dumps(told))
    return root


class Page(HTMLParser):
    """Tags, attributes and text of a page as a browser takes them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        (self.scripts if self._in_script else self.text).append(data)


@pytest.mark.slow
def test_a_run_without_network_on_hostile_captions_leaves_a_page_of_text(tmp_path: Path) -> None:
    data, out, hook = hostile_msrvtt(tmp_path / "data"), tmp_path / "run", tmp_path / "hook"
    profile = tmp_path / "all-shown.yaml"
    profile.write_text(hostile.PROFILE.replace("previews: 4", "previews: 8"))
    command = [
        *offline.no_interfaces(), sys.executable, "-m", "bench", "run", str(ROOT / "ablations" / "dual_stream.yaml"),
        "--profile", str(profile), "--data", f"msrvtt={data}", "--out", str(out), "--store", str(tmp_path / "store"),
    ]  # fmt: skip
    surroundings = offline.environment(hook)
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert offline.attempts(hook) == []
    assert not list(tmp_path.rglob("owned")) and not (ROOT / "owned").exists()
    index = json.loads((out / "samples" / "index.json").read_text(encoding="utf-8"))
    prompts = {entry["prompt"] for entry in index if entry["dataset"] == "msrvtt"}
    assert prompts and all("\x00" not in p and "\x1b" not in p for p in prompts)
    _page_is_text((out / "report.html").read_text(encoding="utf-8"), prompts)
    _files_are_safe(out)
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert "<script>document" not in markdown and "<img src=x" not in markdown


def _page_is_text(html: str, shown: set[str]) -> None:
    page = Page()
    page.feed(html)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert not (attributes.get(name) or "").strip().lower().startswith("javascript:"), (tag, attributes)
        assert not re.match(r"https?:", attributes.get("src") or ""), "the page loads something"
    assert not any("owned" in script for script in page.scripts)
    text = " ".join(" ".join(page.text).split())
    seen = [prompt for prompt in shown if " ".join(prompt.split()) in text]
    assert len(seen) >= 3, "captions are not shown, so the test sees nothing"


def _files_are_safe(out: Path) -> None:
    for path in out.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name), path
    with (out / "table.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            assert not any(re.match(r"[=+@\t\r]|-[^\d.]", cell) for cell in row), row
