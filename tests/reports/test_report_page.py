"""The page and its Markdown twin: same numbers, nothing hostile, nothing from outside, and no torch."""

import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import verdicts, words
from reports.health import health
from reports.load import load
from reports.render import render
from reports.samples import grids
from reports.sheets import sheet
from reports.tables import ablation_tables
from reports.templating import escape_markdown
from tests.fixtures.run_folder import HOSTILE, FakeRun, write_run


class Page(HTMLParser):
    """Every tag with its attributes, and the text of table rows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


def test_nothing_on_the_page_points_outside(page, parsed):
    own = re.sub(
        r"data:[a-z0-9/+;=-]+(;base64)?,[A-Za-z0-9+/=%._-]*",
        "",
        re.sub(r"<script>.*</script>", "", page, flags=re.S),
    )
    assert "//" not in own and "http:" not in own and "https:" not in own
    for tag, attrs in parsed.tags:
        for name in ("src", "href", "poster", "action", "data", "srcset"):
            value = attrs.get(name) or ""
            assert not value or value.startswith(("data:", "#")), (tag, name, value[:60])
    policy = next(
        a["content"]
        for t, a in parsed.tags
        if t == "meta" and "content-security-policy" in (a.get("http-equiv") or "").lower()
    )
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_hostile_captions_stay_text(page, parsed, twin):
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert "<script" not in twin and "](javascript" not in twin


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        (
            HOSTILE,
            r"&lt;script&gt;alert\(1\)&lt;/script&gt; a \[red\]\(javascript:alert\(1\)\) "
            r"\| square &amp; \`co\`",
        ),
        ("# title\n\n- item", r"\# title \- item"),
        (
            "see https://evil.example and www.x.y @you",
            r"see https&#58;//evil\.example and www&#46;x\.y &#64;you",
        ),
        ("$x$ ~~a~~ __b__ !c", r"\$x\$ \~\~a\~\~ \_\_b\_\_ \!c"),
        ("already \\| escaped", r"already \\\| escaped"),
    ],
)
def test_text_has_no_power_in_markdown(hostile, safe):
    assert str(escape_markdown(hostile)) == safe


def test_tables_show_the_records_and_markdown_shows_the_same(run, parsed, twin):
    table = ablation_tables(run)[0]
    shown = {row[0]: row[1:] for row in parsed.rows if len(row) == 9}
    lines = {
        line.split(" | ")[0].strip("| ").replace("\\", ""): line
        for line in reversed(twin[twin.index("## The paper’s tables") :].split("\n"))  # the first of a name wins
        if line.startswith("| ")
    }
    for row in table.rows:
        plain = lines[row.label].replace("\\", "").replace("*", "")
        for column, cell, html in zip(table.columns, row.cells, shown[row.label], strict=False):
            value = words.decimal(cell.value, column.digits)
            interval = words.bracket(cell.low, cell.high, column.digits)
            assert html.startswith(value) and interval in html
            assert f"{value} {interval}" in plain
        for printed in filter(None, row.published):
            assert printed in shown[row.label] and printed in plain


def test_features_stand_in_the_head_and_published_columns_are_named_as_another_worlds(parsed):
    heads = next(row for row in parsed.rows if row and row[0] == "Method")
    assert heads[1:4] == ["FVD (tiny-i3d) ↓", "KVD (tiny-i3d) ↓", "PIC (tiny-perceptual) ↑"]
    assert heads[-2:] == ["FVD (paper)", "PIC (paper)"]
    assert any("Another world: MSR-VTT" in row for row in parsed.rows)


def test_claims_say_verdict_effect_interval_and_p(run, page, twin):
    for claim in run.claims:
        assert claim.claim in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert text.count("undecided") >= 8 and "p &lt; 0.001, N = 192, 3 seeds" in text
    assert twin.count("✓ holds") == 4 and twin.count("✗ fails") == 4


def test_markdown_images_are_there_and_are_pictures(run_folder, twin):
    named = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", twin)
    assert len(named) == 10 and all((run_folder / name).is_file() for name in named)
    for name in named:
        head = (run_folder / name).read_bytes()[:200]
        start = {".svg": b"<svg", ".gif": b"GIF8", ".png": b"\x89PNG"}[Path(name).suffix]
        assert head.lstrip().startswith(start), name
    assert "http" not in re.sub(r'xmlns="[^"]+"', "", (run_folder / named[0]).read_text())


def test_everything_to_repeat_it_is_there(page):
    for said in (
        "python -m bench run ablations/*.yaml --out runs/fake", "stated by the authors", "our choice",
        "Fake CPU", "0123456789abcdef", "@article{xing2023dynamicrafter", "unterthiner2018towards",
        "ends after 3 frames", "Share of text-to-video samples", "not reached", "23 min 10 s", "1.5 GB",
    ):  # fmt: skip
        assert said in page, said


def test_the_page_is_small_and_made_quickly_without_torch(run_folder, tmp_path):
    assert (run_folder / "report.html").stat().st_size < 20e6
    code = (
        "import sys, resource; from pathlib import Path; from reports.render import render\n"
        f"render([Path({str(run_folder)!r})], Path({str(tmp_path)!r}))\n"
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)\n"
        "assert not {'torch', 'matplotlib', 'scipy', 'bench', 'models', 'datasets'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5


def test_rendering_twice_gives_the_same_bytes(run_folder, tmp_path):
    render(run_folder, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == (run_folder / "report.html").read_bytes()
    assert (tmp_path / "report.md").read_bytes() == (run_folder / "report.md").read_bytes()


def test_a_bare_folder_still_makes_a_report_that_says_what_is_missing(tmp_path):
    bare = FakeRun(
        variants=("full", "no_ctx"), seeds=(0,), claims=False, samples=0, curves=False, everything_else=False
    )
    made = render(write_run(tmp_path, bare))
    for text in (
        made.html.read_text(encoding="utf-8"),
        made.markdown.read_text(encoding="utf-8").replace("\\", ""),
    ):
        for said in (
            "No claim",
            "left no sample videos",
            "left no training curves",
            "left no costs",
            "curves.jsonl is missing",
        ):
            assert said in text, said
        assert "1 training seed" in text and "3 training seeds" not in text


def test_no_record_at_all_is_a_report_too(tmp_path):
    (tmp_path / "records.jsonl").write_text("")
    assert "holds no record" in render(tmp_path).html.read_text(encoding="utf-8")


def test_too_few_videos_are_marked(tmp_path):
    few = write_run(tmp_path, FakeRun(variants=("full", "no_ctx"), n=8, samples=0))
    text = render(few).html.read_text(encoding="utf-8")
    assert words.DAGGER in text and "8 videos; the protocol requires 192." in text
    assert "UCF-101: FVD (tiny-i3d)" in text


def _noted_run(folder: Path) -> Path:
    """Too few videos, a note on one cell, one claim, and a health.json with notes of both shapes."""
    write_run(folder, FakeRun(variants=("full", "no_ctx"), n=8, samples=0))
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if (line["variant"], line["dataset"], line["metric"]) == ("no_ctx", "ucf101", "fvd"):
            line["notes"] = [*line["notes"], "one seed diverged"]
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    singles = [{"id": f"v{i}", "reason": "looped"} for i in range(20)]
    notes = [*singles, "stage i comes ready made (t2i.safetensors), each trained once"]
    (folder / "health.json").write_text(json.dumps({"notes": notes}), encoding="utf-8")
    return folder


def test_markdown_is_as_honest_as_the_page(tmp_path):
    folder = _noted_run(tmp_path / "run")
    made = render(folder)
    page = unescape(made.html.read_text(encoding="utf-8"))
    twin = unescape(made.markdown.read_text(encoding="utf-8")).replace("\\", "")
    run = load(folder)
    table, missing = ablation_tables(run)[0], [claim.sentence for claim in verdicts.untested(run)]
    assert table.intervals and missing and table.notes == ("one seed diverged",)
    said = (words.TINY_WORLD, words.DAGGER, words.INTERVALS_COVER, words.untested(len(missing)), "<sup>1</sup>")
    for sentence in (*said, *table.told_intervals, *missing, *table.general):
        assert sentence in page and sentence in twin, sentence
    tables = twin[twin.index("## The paper’s tables") :]
    row = next(line for line in tables.split("\n") if line.startswith("| w/o ctx"))
    assert row.count("<sup>1</sup>") == 1 and "†<sup>1</sup> [" in row and "<sup>1</sup> one seed diverged" in twin


def test_what_a_run_was_not_marked_for_is_not_explained(twin):
    assert words.DAGGER.replace(".", "\\.") not in twin and "†" not in twin and "<sup>" not in twin


def test_notes_on_the_whole_run_stand_unfolded_by_the_tables(tmp_path):
    folder = _noted_run(tmp_path / "run")
    made, note = render(folder), "stage i comes ready made (t2i.safetensors), each trained once"
    for text in (
        made.html.read_text(encoding="utf-8"),
        made.markdown.read_text(encoding="utf-8").replace("\\", ""),
    ):
        assert text.count(note) == 1
        before = text[: text.index(note)]
        assert before.count("<details") == before.count("</details>")
        assert before.rindex(words.WHOLE_RUN) > before.rindex("The paper’s tables")
    assert health(load(folder)).notes[:2] == ("v0: looped", "v1: looped")


def test_several_runs_become_chapters_of_one_page(run_folder, tmp_path):
    other = write_run(tmp_path / "second", FakeRun(variants=("full", "no_ctx"), samples=0))
    text = render([other, run_folder], tmp_path / "both").html.read_text(encoding="utf-8")
    assert "Run second" in text and "Run fake" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and "r2-claims" in ids


def test_samples_outside_the_run_folder_are_not_read(tmp_path):
    folder = write_run(tmp_path / "run", FakeRun(variants=("full",), datasets=("ucf101",), samples=1))
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((folder / "samples/ucf101/full/0.mp4").read_bytes())
    run = load(folder)
    run.samples[0]["files"] = {
        "full": "../secret.mp4",
        "evil": str(secret),
        "real": "samples/ucf101/real/0.mp4",
    }
    names = [tile.name for tile in grids(run, {"full": "DynamiCrafter"})[0].samples[0].tiles]
    assert names == ["condition", "real"]


def test_a_damaged_preview_is_named_and_the_others_stay(tmp_path):
    folder = write_run(tmp_path, FakeRun(variants=("full", "no_ctx"), datasets=("ucf101",), samples=1))
    (folder / "samples/ucf101/full/0.mp4").write_bytes(b"no video at all")
    grid = grids(load(folder), {"full": "DynamiCrafter", "no_ctx": "w/o ctx"})[0]
    assert [t.label for t in grid.samples[0].tiles] == ["Input image", "Real clip", "w/o ctx"]
    assert "0.mp4 of DynamiCrafter cannot be shown" in grid.notes[0] and str(tmp_path) not in grid.notes[0]


def test_a_budget_leaves_samples_out_and_says_so(run):
    whole = grids(run, {"full": "DynamiCrafter"})
    sizes = sum(len(t.video) for g in whole for s in g.samples for t in s.tiles) * 3 // 4
    half = grids(run, {"full": "DynamiCrafter"}, budget=sizes // 2)
    assert all(0 < len(g.samples) < 4 and "left out of this file" in g.notes[0] for g in half)
    assert (whole[0].frames, whole[0].rate, len(whole[0].samples)) == (8, 8.0, 4)


def test_a_sheet_has_every_frame_and_variant(run, tmp_path):
    from PIL import Image

    grid = grids(run, {"full": "DynamiCrafter"})[0]
    with Image.open(sheet(grid, tmp_path / "sheet.gif", tile=32, most=2)) as picture:
        assert picture.n_frames == 8 and picture.size == (11 * 36 - 4, 18 + 2 * 36 - 4)
