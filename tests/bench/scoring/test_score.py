"""Videos in, numbers out: the round trip conditions -> system -> score, and what is said of every deviation."""

import json
import shutil

import pytest

from bench.assemble import BASELINE_LABELS
from bench.errors import UsageError
from bench.metrics.features import read_sample
from bench.metrics.frechet import frechet_from_features
from bench.metrics.pic import pic
from bench.scoring.conditions import FILE, read_conditions
from bench.scoring.score import ScoreOptions, left_out, prepare, score
from bench.store import Store
from reports.load import load
from tests.bench.scoring.conftest import SAMPLES, common, records, reference_clips, system
from tests.bench.scoring.made import noise, picture, pictures, video


@pytest.fixture(scope="session")
def made(conditions, tmp_path_factory):
    """What a system made of all conditions, without loss."""
    return system(conditions / "ucf101", tmp_path_factory.mktemp("made") / "shifter")


def options(store, videos, out, **more):
    samples = more.pop("samples", None)
    return ScoreOptions(
        **{"videos": videos, "common": common(store, samples=samples), "out": out, "baselines": False} | more
    )


def scored(store, videos, out, capsys, **more):
    assert score(options(store, videos, out, **more)) == 0
    return records(out), capsys.readouterr().out


def paired(conditions):
    return {"inputs": conditions, "reference": ("ucf101=world",)}


def notes(found, metric="fvd"):
    return " | ".join(next(r.notes for (_, _, m, _), r in found.items() if m == metric))


# ---- the round trip ----


def test_conditions_system_score(page, store, conditions, made, tmp_path, capsys):
    found, printed = scored(store, made, tmp_path / "out", capsys, **paired(conditions))
    assert {key[:3] for key in found} >= {("shifter", "ucf101", m) for m in ("fvd", "kvd", "pic")}
    fvd, similar = found["shifter", "ucf101", "fvd", None], found["shifter", "ucf101", "pic", None]
    shelf = Store(store)
    mine = read_sample(shelf.folder("features", fvd.fingerprints["features"]))
    real = read_sample(shelf.folder("features", fvd.fingerprints["reference"]))
    assert mine.ids == real.ids == tuple(item.id for item in read_conditions(conditions / "ucf101").items)
    assert mine.groups == real.groups
    assert fvd.value == frechet_from_features(mine.features, real.features)
    assert similar.value == pic(mine.conformity)
    assert (fvd.n, fvd.question, fvd.world, fvd.protocol) == (SAMPLES, "score", "tiny", "tiny/v1")
    assert not any("lossy" in note or "not there" in note for note in fvd.notes)
    assert "FVD" in printed and "tiny-i3d" in printed and "not comparable: 6 videos, 192 required" in printed
    assert (tmp_path / "out/report.html").is_file()


def test_the_folder_is_a_runs_and_is_rendered_from_records_alone(page, store, conditions, made, tmp_path, capsys):
    from reports.render import render

    out = tmp_path / "out"
    scored(store, made, out, capsys, **paired(conditions))
    shown = load(out).samples
    files = {name for entry in shown for name in entry["files"].values()}
    assert len(shown) == 4 and all((out / name).is_file() for name in files)
    assert {"condition", "real", "shifter"} == set(shown[0]["files"])
    before = (out / "report.md").read_text()
    assert render(out).markdown.read_text() == before
    assert json.loads((out / "spec.json").read_text())["protocols"]["tiny/v1"]


def test_a_second_time_nothing_is_measured_and_the_records_are_the_same(store, conditions, made, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    scored(store, made, one, capsys, **paired(conditions))
    scored(store, made, two, capsys, **paired(conditions))
    assert (one / "records.jsonl").read_bytes() == (two / "records.jsonl").read_bytes()
    assert all(line["reused"] for line in map(json.loads, (two / "costs.jsonl").read_text().splitlines()))


@pytest.mark.parametrize("kind", ["png"])
def test_png_folders_score_as_ffv1_does(store, conditions, made, tmp_path, capsys, kind):
    other = system(conditions / "ucf101", tmp_path / "shifter", kind)
    one, _ = scored(store, made, tmp_path / "one", capsys, **paired(conditions))
    two, _ = scored(store, other, tmp_path / "two", capsys, **paired(conditions))
    assert {k: (r.value, r.low, r.high) for k, r in one.items()} == {
        k: (r.value, r.low, r.high) for k, r in two.items()
    }


def test_a_scores_reference_is_the_runs_to_the_fingerprint(store, conditions, made, tmp_path):
    from bench.runner import Options
    from bench.runner import prepare as prepare_run

    run = prepare_run(
        Options((__import__("pathlib").Path("ablations/dual_stream.yaml"),), "smoke", store=store, samples=SAMPLES)
    )
    _, plan = prepare(options(store, made, tmp_path, baselines=True, **paired(conditions)))
    own = {step.fingerprint for step in plan.graph}
    evaluation = run.plan.evaluation["ucf101"]
    assert evaluation.clips.fingerprint in own
    assert evaluation.reference.fingerprint in own
    for name in ("real", "static", "another"):
        assert evaluation.baselines[name].score.fingerprint in own


def test_baselines_stand_beside_the_system(store, conditions, made, tmp_path, capsys):
    found, printed = scored(store, made, tmp_path / "out", capsys, baselines=True, **paired(conditions))
    assert {key[0] for key in found} == {"shifter", "real", "static", "another"}
    assert found["static", "ucf101", "pic", None].value == pytest.approx(1.0)
    assert BASELINE_LABELS["static"] in printed


# ---- what is not as it should be ----


def test_missing_and_extra_videos_are_named_and_counted(store, conditions, made, tmp_path, capsys):
    videos = shutil.copytree(made, tmp_path / "shifter")
    first = sorted(videos.iterdir())[0]
    first.unlink()
    video(videos / "other.mkv", noise(5))
    found, printed = scored(store, videos, tmp_path / "out", capsys, **paired(conditions))
    assert found["shifter", "ucf101", "fvd", None].n == SAMPLES - 1
    assert f"not comparable: 1 of the videos that were to be made are not there: {first.stem}" in printed
    assert "1 videos are none of those that were to be made and are left out: other" in printed
    health = json.loads((tmp_path / "out/health.json").read_text())
    assert [line["id"] for line in health["missing"]] == [first.stem]


def test_bad_videos_are_set_aside_and_the_rest_is_scored(store, conditions, made, tmp_path, capsys):
    videos = shutil.copytree(made, tmp_path / "shifter")
    files = sorted(videos.iterdir())
    files[0].write_bytes(b"no video")
    video(files[1], noise(1, 3))
    found, printed = scored(store, videos, tmp_path / "out", capsys, **paired(conditions))
    assert found["shifter", "ucf101", "pic", None].n == SAMPLES - 2
    assert "2 videos could not be scored and were set aside" in printed and "too short: 3 frames, 8 needed" in printed
    assert len(json.loads((tmp_path / "out/health.json").read_text())["set_aside"]) == 2


def test_lossy_files_are_scored_and_not_comparable(store, conditions, tmp_path, capsys):
    videos = tmp_path / "shifter"
    for item in read_conditions(conditions / "ucf101").items:
        video(videos / f"{item.name}.mp4", noise(len(item.id), 12), fps=24)
    found, printed = scored(store, videos, tmp_path / "out", capsys, **paired(conditions))
    assert "not comparable: 6 of 6 videos come from lossy files" in printed
    assert "6 videos are longer than 8 frames: their first 8 were taken (frames in the file: 12)" in printed
    assert "frames per second of the files: 24" in printed
    assert not found["shifter", "ucf101", "fvd", None].comparable


def test_changed_conditions_are_not_comparable(store, conditions, made, tmp_path, capsys):
    changed = shutil.copytree(conditions, tmp_path / "conditions")
    first = read_conditions(changed / "ucf101").items[0]
    picture(changed / "ucf101" / first.file, noise(1, 1)[0])
    found, printed = scored(store, made, tmp_path / "out", capsys, **paired(changed))
    assert f"not comparable: conditions: 1 pictures changed: {first.file}" in printed
    assert f"not comparable: 1 inputs are not the first frame of their reference clip: {first.id}" in printed
    assert not any(record.comparable for record in found.values())


def test_conditions_whose_hash_does_not_fit_are_refused(store, conditions, made, tmp_path):
    changed = shutil.copytree(conditions, tmp_path / "conditions")
    path = changed / "ucf101" / FILE
    path.write_text(path.read_text().replace('"frames": 8', '"frames": 9'))
    with pytest.raises(UsageError, match="it was changed since it was exported"):
        prepare(options(store, made, tmp_path, **paired(changed)))


def test_conditions_of_another_size_or_data_set_are_told(store, conditions, made, tmp_path):
    with pytest.raises(UsageError, match=r"conditions of ucf101, the reference is of msrvtt"):
        prepare(options(store, made, tmp_path, inputs=conditions / "ucf101", reference=("msrvtt=world",)))


def test_prompts_that_differ_from_the_conditions_are_noted(store, conditions, made, tmp_path, capsys):
    videos = shutil.copytree(made, tmp_path / "shifter")
    one = sorted(videos.iterdir())[0]
    one.with_suffix(".txt").write_text("something else")
    found, _ = scored(store, videos, tmp_path / "out", capsys, **paired(conditions))
    assert f"1 prompts beside the videos are not those of the conditions: {one.stem}" in notes(found)


def test_copies_of_real_frames_are_flagged(store, conditions, tmp_path, capsys):
    from bench.scoring.lossless import write_ffv1
    from datasets.framefile import read_frames

    real = read_frames(reference_clips(store) / "clips.safetensors")
    for item, clip in zip(read_conditions(conditions / "ucf101").items, real, strict=False):
        write_ffv1(tmp_path / "thief" / item.name, clip)
    found, _ = scored(store, tmp_path / "thief", tmp_path / "out", capsys, **paired(conditions))
    assert "6 videos have frames after the first that are, to the bit, frames of a reference clip" in notes(found)


def test_videos_of_no_known_name_are_independent(store, conditions, tmp_path, capsys):
    for k in range(4):
        video(tmp_path / f"made/clip{k}.mkv", noise(k))
    found, printed = scored(
        store, tmp_path / "made", tmp_path / "out", capsys, reference=("ucf101=world",), samples=SAMPLES
    )
    fvd = found["made", "ucf101", "fvd", None]
    assert (fvd.n, fvd.comparable) == (4, False)
    assert "generated and real are taken as independent" in printed
    assert "not comparable: generated and real videos are not of the same ids" in printed


def test_a_csv_says_which_is_which(store, conditions, tmp_path, capsys):
    ids = [item.id for item in read_conditions(conditions / "ucf101").items]
    lines = ["output,id"]
    for k, name in enumerate(ids):
        video(tmp_path / f"made/{k}.mkv", noise(k))
        lines.append(f"{k}.mkv,{name}")
    matches = tmp_path / "matches.csv"
    matches.write_text("\n".join(lines) + "\n")
    found, _ = scored(store, tmp_path / "made", tmp_path / "out", capsys, matches=matches, **paired(conditions))
    assert found["made", "ucf101", "fvd", None].n == SAMPLES
    assert "not there" not in notes(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"videos": "nowhere"}, "VIDEOS nowhere: there is no such folder"),
        ({"inputs": "nowhere"}, "--inputs nowhere: there is no such folder"),
        ({"captions": "nowhere"}, "--captions nowhere: there is no such file"),
        ({"reference": ("kinetics=x",)}, "unknown name 'kinetics'. Known: ucf101, msrvtt, folder"),
        ({"reference": ("ucf101=nowhere",)}, "--reference ucf101=nowhere: there is no such folder"),
        ({"protocols": ("tiny/v7",)}, "--protocol tiny/v7"),
        ({"name": "static"}, "'static' is the name of a baseline"),
        ({"reference": ("ucf101=world", "msrvtt=world")}, "there is no folder ucf101/ in it"),
    ],
)
def test_a_wrong_command_says_what_is_allowed(store, tmp_path, change, words):
    from pathlib import Path

    video(tmp_path / "v/a.mkv", noise(0, 3))
    change = {k: Path(v) if isinstance(v, str) and k != "name" else v for k, v in change.items()}
    with pytest.raises(UsageError) as error:
        prepare(options(store, change.pop("videos", tmp_path / "v"), tmp_path / "out", **change))
    assert words in str(error.value)


def test_nothing_that_fits_the_reference_fails_with_both_sides(store, conditions, tmp_path, capsys):
    extra = [i for i in _world_ids() if i not in {c.id for c in read_conditions(conditions / "ucf101").items}]
    video(tmp_path / f"made/{extra[0]}.mkv", noise(0))
    assert score(options(store, tmp_path / "made", tmp_path / "out", reference=("ucf101=world",), samples=SAMPLES)) == 1
    assert f"none of the 1 videos is one of the 6 of the reference: {extra[0]}" in capsys.readouterr().err


def _world_ids():
    from bench.profile import load_profile
    from datasets.world import WorldConfig, evaluation_ids

    world = load_profile("smoke").world.model_dump()
    seed = world.pop("seed")
    return evaluation_ids(WorldConfig(**world), seed, "ucf101")


def test_several_data_sets_come_from_folders_of_their_names(store, conditions, tmp_path):
    video(tmp_path / "v/ucf101/a.mkv", noise(0, 3))
    pictures(tmp_path / "v/msrvtt/b", noise(0, 3))
    _, plan = prepare(options(store, tmp_path / "v", tmp_path / "out", reference=("ucf101=world", "msrvtt=world")))
    assert [(of.dataset, of.root.name, len(of.matched.items)) for of in plan.sets] == [
        ("ucf101", "ucf101", 1),
        ("msrvtt", "msrvtt", 1),
    ]
    assert left_out(plan)[0].startswith("ucf101: PIC: no input pictures")
