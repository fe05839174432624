"""A table that others can check: exports, their manifest, the re-check; and stored samples under other protocols."""

import json
import shutil

import pytest

from bench.errors import BenchError, UsageError
from bench.fingerprint import digest
from bench.scoring.conditions import FILE as CONDITIONS
from bench.scoring.dialects import dialect_table
from bench.scoring.export import FILE, ExportOptions, export, read_manifest
from bench.scoring.rescore import RescoreOptions, rescore
from bench.scoring.rescore import prepare as prepare_rescore
from bench.scoring.score import ScoreOptions, score
from reports.load import load
from tests.bench.scoring.conftest import SAMPLES, common, edit, records
from tests.bench.scoring.made import noise, video


@pytest.fixture(scope="session")
def exported(run, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("export")
    export(ExportOptions(run, out, store))
    return out


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "export")


def check(folder, store, out, reference="ucf101=world"):
    return score(ScoreOptions(folder, common(store, samples=None), (reference,), out=out))


def test_the_numbers_of_an_export_are_the_runs_to_the_last_bit(exported, run, store, tmp_path, capsys):
    assert check(exported, store, tmp_path / "out") == 0
    count = len(json.loads((exported / FILE).read_text())["records"])
    assert f"ok: {count} of {count} numbers are the run's, {count} of them to the last bit" in capsys.readouterr().out
    assert count == len(records(run))
    now = records(tmp_path / "out")
    assert {k: (r.value, r.low, r.high, r.n) for k, r in records(run).items()} == {
        k: (r.value, r.low, r.high, r.n) for k, r in now.items()
    }


def test_they_are_in_an_empty_store_too(exported, tmp_path, capsys):
    assert check(exported, tmp_path / "store", tmp_path / "out") == 0
    assert "to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["png"])
def test_png_folders_hold_the_same_frames(run, store, tmp_path, exported, kind):
    export(ExportOptions(run, tmp_path, store, ("slow",), kind))
    one, two = (json.loads((folder / FILE).read_text()) for folder in (tmp_path, exported))
    for folder, about in one["folders"].items():
        assert [i["pixels"] for i in about["items"]] == [i["pixels"] for i in two["folders"][folder]["items"]]
    assert {s["variant"] for s in one["sets"]} == {"slow"}
    assert check(tmp_path, store, tmp_path / "out") == 0


def test_a_manifest_names_all_that_the_numbers_stand_on(exported, conditions):
    manifest = json.loads((exported / FILE).read_text())
    assert sorted(manifest["folders"]) == [f"videos/{v}/seed-{s}/ucf101" for v in ("full", "slow") for s in (0, 1)]
    about = manifest["datasets"]["ucf101"]
    assert len(about["reference"]) == SAMPLES and len(about["reference"][0]["pixels"]) == 64
    assert manifest["weights"]["classifier"]["sha256"]
    assert manifest["protocol"]["name"] == "tiny/v1" and manifest["protocol"]["fields"]
    ours = json.loads((exported / "conditions/ucf101" / CONDITIONS).read_text())
    plain = json.loads((conditions / "ucf101" / CONDITIONS).read_text())
    assert [i["pixels"] for i in ours["items"]] == [i["pixels"] for i in plain["items"]]
    assert about["conditions"] == ours["hash"]
    readme = (exported / "README.txt").read_text()
    assert manifest["hash"] in readme and "--reference ucf101=world" in readme


def test_no_real_clip_leaves_the_house(exported):
    assert {path.relative_to(exported).parts[:2] for path in exported.rglob("*.mkv")} == {
        ("videos", "full"),
        ("videos", "slow"),
    }


def test_a_changed_video_is_found(copy, store, tmp_path, capsys):
    path = next((copy / "videos/full/seed-0/ucf101").iterdir())
    video(path, noise(3))
    assert check(copy, store, tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert (
        "FAIL" in printed
        and f"1 videos are not those of the manifest: videos/full/seed-0/ucf101/{path.name}" in printed
    )
    assert "differs: moving full ucf101 0 fvd tiny-i3d tiny/v1: value" in printed
    assert json.loads((tmp_path / "out/recheck.json").read_text())["holds"] is False


def forge(folder, change):
    def again(content):
        content.pop("hash")
        change(content)
        content["hash"] = digest(content)

    edit(folder / FILE, again)


def test_a_changed_number_or_reference_is_found(copy, store, tmp_path, capsys):
    def change(content):
        content["records"][0]["value"] += 1.0
        content["datasets"]["ucf101"]["reference"][0]["pixels"] = "0" * 64

    forge(copy, change)
    assert check(copy, store, tmp_path / "out") == 1
    printed = capsys.readouterr().out
    total = len(json.loads((copy / FILE).read_text())["records"])
    assert f"FAIL: {total - 1} of {total} numbers are the run's" in printed
    assert "1 reference clips are not those of the manifest: ucf101 v_" in printed


VIDEOS = "videos/full/seed-0/ucf101"


def first_video(content):
    return content["folders"][VIDEOS]["items"][0]


CHANGES = [
    (lambda f: edit(f / FILE, lambda c: c.update(run="x")), "it was changed since it was written"),
    (lambda f: forge(f, lambda c: c.update(schema=7)), "schema 7; this version reads 1"),
    (lambda f: forge(f, lambda c: first_video(c).update(file="../../../../x.mkv")), "leaves"),
    (lambda f: forge(f, lambda c: c["protocol"]["fields"][0].update(value=1)), "protocol tiny/v1 has changed"),
    (lambda f: next((f / VIDEOS).iterdir()).unlink(), "is not there"),
    (lambda f: (f / "conditions/ucf101" / CONDITIONS).unlink(), "conditions"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_an_export_is_read_strictly(copy, store, tmp_path, change, words):
    change(copy)
    with pytest.raises(UsageError) as error:
        check(copy, store, tmp_path / "out")
    assert words in str(error.value)


def test_a_reference_must_be_given(exported, store, tmp_path):
    with pytest.raises(UsageError, match="give --reference ucf101=DIR"):
        score(ScoreOptions(exported, common(store), out=tmp_path))


def test_an_export_of_another_folder_or_variant_is_refused(run, store, tmp_path):
    with pytest.raises(UsageError, match=r"--variant fall: Known: full, slow\. Did you mean 'full'"):
        export(ExportOptions(run, tmp_path, store, ("fall",)))
    with pytest.raises(UsageError, match=r"--format is 'mp4'\. Known: ffv1, png"):
        export(ExportOptions(run, tmp_path, store, format="mp4"))
    with pytest.raises(BenchError, match="not in this store"):
        export(ExportOptions(run, tmp_path, tmp_path / "empty"))
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files are there already"):
        export(ExportOptions(run, tmp_path, store))


def test_an_export_can_be_written_again(run, store, tmp_path):
    export(ExportOptions(run, tmp_path, store))
    before = (tmp_path / FILE).read_bytes()
    export(ExportOptions(run, tmp_path, store, ("full",)))
    export(ExportOptions(run, tmp_path, store))
    assert (tmp_path / FILE).read_bytes() == before


def test_what_is_no_manifest_is_a_folder_of_videos(tmp_path):
    assert read_manifest(tmp_path) is None
    (tmp_path / FILE).write_text('{"kind": "something else"}')
    assert read_manifest(tmp_path) is None


# ---- rescore ----


def test_a_run_scored_again_by_its_own_protocol_has_its_own_records(run, store, tmp_path, capsys):
    out = tmp_path / "again"
    assert rescore(RescoreOptions(run, ("tiny/v1",), common(store, samples=None), out)) == 0
    assert {k: r.value for k, r in records(out).items()} == {k: r.value for k, r in records(run).items()}
    assert "one protocol alone: name others" in capsys.readouterr().out
    claims = load(out).claims
    assert [(c.claim, c.question) for c in claims] == [("moving is better", "moving")]


def test_a_protocol_of_another_size_is_refused(run, store, tmp_path):
    with pytest.raises(UsageError) as error:
        prepare_rescore(RescoreOptions(run, ("dynamicrafter-256/v1",), common(store, samples=None), tmp_path))
    assert "256" in str(error.value)


def test_rescored_folders_keep_the_samples_and_name_every_step(run, store, tmp_path):
    out = tmp_path / "again"
    rescore(RescoreOptions(run, ("tiny/v1",), common(store, samples=None), out))
    steps = {step["fingerprint"] for step in json.loads((out / "plan.json").read_text())["steps"]}
    assert {r.fingerprints["clips"] for r in load(run).records if "clips" in r.fingerprints} <= steps
    assert load(out).samples == load(run).samples


def test_the_dialect_table_says_how_far_numbers_move(run):
    from dataclasses import replace

    own = [r for r in load(run).records if r.metric == "fvd" and r.role == "variant" and r.seed is None]
    values = {("tiny/v1", "full"): 100.0, ("tiny/v1", "slow"): 200.0, ("d/v1", "full"): 50.0, ("d/v1", "slow"): 40.0}
    told = [
        replace(r, protocol=p, value=values[p, r.variant], low=None, high=None, level=None, interval="")
        for p in ("tiny/v1", "d/v1")
        for r in own
    ]
    claims = [
        {"claim": "c", "metric": "fvd", "dataset": "ucf101", "protocol": p, "verdict": v}
        for p, v in (("tiny/v1", "holds"), ("d/v1", "fails"))
    ]
    printed = dialect_table(told, claims).splitlines()
    assert printed[0] == "UCF-101, FVD ↓ (tiny-i3d)"
    assert printed[1].split() == ["tiny/v1", "d/v1", "largest", "/", "smallest"]
    assert printed[2].split() == ["Moves", "100.0", "50.0", "2.00"]
    assert printed[3].split() == ["w/o", "moving", "200.0", "40.0", "5.00"]
    assert printed[4] == "d/v1 turns round the order of Moves / w/o moving"
    assert printed[-1].split() == ["c", "FVD", "UCF-101", "holds", "fails"]
