"""`python -m bench report RUN...`: quick, without torch, several runs on one page, other versions refused by name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from reports.load import load
from tests.fixtures.run_folder import FakeRun, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("small") / "second", FakeRun(variants=("full", "no_ctx"), samples=0, n=48))


def test_the_command_is_quick_and_never_imports_torch(rich, tmp_path):
    code = (
        "import resource, sys\nfrom bench.cli import main\n"
        f"done = main(['report', {str(rich)!r}, '--out', {str(tmp_path)!r}])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(done, used.ru_utime + used.ru_stime, sorted({'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    code_, seconds, heavy = done.stdout.splitlines()[-1].split(" ", 2)
    assert (code_, heavy) == ("0", "[]") and float(seconds) < 5


def test_several_runs_share_a_page_with_an_overview_and_no_table(rich, small, tmp_path, capsys):
    assert main(["report", str(rich), str(small), "--out", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "both/report.html")
    page = (tmp_path / "both/report.html").read_text(encoding="utf-8")
    twin = (tmp_path / "both/report.md").read_text(encoding="utf-8").replace("\\", "")
    for text in (page, twin):
        assert "192 videos per variant and dataset" in text and "48 videos per variant and dataset" in text
    rows = re.findall(r"^\| (fake|second) \| the tiny world \| tiny/v1 \| .* \|$", twin, re.M)
    assert rows == ["fake", "second"]
    assert page.index("Runs on this page") < page.index("Run second") and "data-figure" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    files = {path.name.split("-")[0] for path in (tmp_path / "both/report_files").iterdir()}
    assert files == {"r1", "r2", "published.csv"}


def test_without_out_each_run_gets_its_own(small, tmp_path, capsys):
    other = write_run(tmp_path / "third", FakeRun(variants=("full",), samples=0, claims=False))
    assert main(["report", str(small), str(other)]) == 0
    assert capsys.readouterr().out.split() == [str(small / "report.html"), str(other / "report.html")]
    assert "Run second" not in (other / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("schema", [0, 2, None])
def test_records_of_another_version_are_refused_by_name_and_nothing_is_written(small, tmp_path, capsys, schema):
    old = write_run(tmp_path / "old", FakeRun(variants=("full",), samples=0))
    lines = (old / "records.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[2]) | {"schema": schema}
    (old / "records.jsonl").write_text("\n".join([*lines[:2], json.dumps(first), *lines[3:]]), encoding="utf-8")
    assert main(["report", str(small), str(old), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert f"records.jsonl:3: schema is {schema!r}; this version reads 1 only" in said
    assert not (tmp_path / "out").exists() and not (old / "report.html").exists()


def test_the_folder_of_the_refused_record_is_named(tmp_path, small, capsys):
    old = write_run(tmp_path / "old", FakeRun(variants=("full",), samples=0))
    (old / "records.jsonl").write_text('{"schema": 9}\n')
    assert main(["report", str(small), str(old)]) == 1
    assert str(old / "records.jsonl:1") in capsys.readouterr().err


def test_a_folder_of_before_the_newer_files_is_read(small):
    """Claims without `detectable`, no extrapolation.jsonl, no study.json: as earlier versions left them."""
    run = load(small)
    assert {claim.detectable for claim in run.claims} == {None} and {claim.protocol for claim in run.claims} == {""}
    assert run.extrapolations == [] and run.study == {}
    text = (small / "report.html").read_text(encoding="utf-8")
    assert "would have been seen" not in text and "What the way of measuring" not in text
    assert "No one has been asked about the videos of this run" in text


def test_a_folder_that_is_no_run_is_named_before_anything_is_made(small, tmp_path, capsys):
    assert main(["report", str(small), str(tmp_path / "x"), str(tmp_path / "y"), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'x'} is no run folder" in said and f"{tmp_path / 'y'} is no run folder" in said
