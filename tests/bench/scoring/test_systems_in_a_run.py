"""A run that compares systems, to the page: a pipeline, a folder of videos with one missing, one that is not given."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from bench import runner
from bench.runner import Options, run
from bench.scoring.rescore import RescoreOptions, rescore
from reports.load import load
from tests.bench.scoring.conftest import PROFILE, SAMPLES, InProcess, common, system
from tests.fixtures.tiny_systems import save

NEEDED = [name for name in ("diffusers", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,  # a whole run: a quarter of a minute of one core
    pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}"),
]
SPEC = """\
question: Who is best?
source: "a test"
variants:
  ltx:   {label: "LTX-Video", system: ltx, system.steps: 2}
  pika:  {label: "PikaLabs", system: pikalabs}
  theirs: {label: "I2VGen-XL", system: i2vgen-xl}
expect:
  - {claim: "LTX-Video beats PikaLabs", metric: fvd, better: [ltx, pika]}
  - {claim: "and I2VGen-XL",            metric: fvd, better: [ltx, theirs]}
"""


@pytest.fixture(scope="module")
def finished(store, conditions, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("compared")
    (place / "who.yaml").write_text(SPEC)
    videos = system(conditions / "ucf101", place / "videos" / "ucf101").parent
    shutil.rmtree(videos / "ucf101" / "gone", ignore_errors=True)
    sorted((videos / "ucf101").iterdir())[1].unlink()
    given = (f"ltx={save('ltx', place / 'ltx')}", f"pikalabs={videos}")
    options = Options((place / "who.yaml",), PROFILE, place / "run", store, samples=SAMPLES, systems=given, quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, store, machines, execution, display, ranks: InProcess(
            store, 1, ("cpu",), execution.threads, display))  # fmt: skip
        assert run(options) == 0
    return place / "run"


def test_every_system_that_is_given_has_its_records(finished):
    found = {(r.variant, r.dataset, r.metric, r.seed): r for r in load(finished).records if r.role == "variant"}
    assert {key[0] for key in found} == {"ltx", "pika"}
    assert {key[3] for key in found if key[0] == "ltx"} == {0, None} and found["ltx", "msrvtt", "fvd", 0].n == SAMPLES
    assert {key[1:] for key in found if key[0] == "pika"} >= {("ucf101", m, None) for m in ("fvd", "kvd", "pic")}
    assert {key[1] for key in found if key[0] == "pika"} == {"ucf101"}, "it gave no videos of the other set"


def test_a_record_says_how_the_clips_were_made(finished):
    found = {(r.variant, r.seed): r for r in load(finished).records if (r.dataset, r.metric) == ("ucf101", "pic")}
    pipeline, videos = found["ltx", 0], found["pika", None]
    assert any("LTX-Video: 2 steps" in note and "makes 9 frames" in note for note in pipeline.notes)
    assert "model" in pipeline.fingerprints
    assert not videos.comparable and videos.n == SAMPLES - 1
    assert any(note.startswith("not comparable: 1 of the videos that were to be made") for note in videos.notes)
    assert any("their first 8 were taken" in note for note in videos.notes), "the files have two frames more"
    assert any("one set, so nothing is known of the system's own seeds" in note for note in videos.notes)


def test_a_claim_about_a_system_that_is_not_given_is_not_tested(finished):
    claims = {(c.claim, c.dataset): c for c in load(finished).claims}
    assert claims["and I2VGen-XL", "ucf101"].verdict == "not tested"
    assert claims["and I2VGen-XL", "ucf101"].notes == ("no numbers of theirs",)
    assert claims["LTX-Video beats PikaLabs", "ucf101"].effect is not None
    assert claims["LTX-Video beats PikaLabs", "msrvtt"].verdict == "not tested", "no videos of that set"


def test_what_is_missing_is_named(finished):
    health = json.loads((finished / "health.json").read_text())
    (line,) = health["missing"]
    assert line["of"] == "who.pika" and line["reason"] == "pika: no video of this id"
    assert "who: no numbers of theirs; their rows say what to give" in health["notes"]
    spec = json.loads((finished / "spec.json").read_text())
    assert list(spec["questions"]["who"]["empty"]) == ["theirs"]
    assert spec["systems"]["pikalabs"] == {"videos": {"ucf101": SAMPLES - 1}}
    assert spec["systems"]["ltx"]["pipeline"] == "LTXImageToVideoPipeline"


def test_a_preview_stands_beside_its_own_condition(finished):
    index = [s for s in json.loads((finished / "samples/index.json").read_text()) if s["dataset"] == "ucf101"]
    missing = json.loads((finished / "health.json").read_text())["missing"][0]["id"]
    for entry in index:
        assert ("pika" in entry["files"]) == (entry["id"] != missing), entry["id"]
        assert all((finished / file).is_file() for file in entry["files"].values())


def test_the_page_has_a_row_for_what_is_not_given_beside_the_published_numbers(finished):
    page, twin = (finished / "report.html").read_text(), (finished / "report.md").read_text().replace("\\", "")
    assert "not given: --system i2vgen-xl=DIR, I2VGenXLPipeline or its videos" in page
    (row,) = [line for line in twin.splitlines() if line.startswith("| I2VGen-XL |")]
    assert "not given: --system i2vgen-xl=DIR" in row and "| 571.11 | 58.59 |" in row
    assert "another system, pikalabs: its own pipeline or its videos" in page
    assert "In the paper, another world" not in page, "of LTX-Video the paper printed nothing"


def test_the_same_clips_can_be_scored_under_another_protocol(finished, store, tmp_path):
    options = RescoreOptions(finished, ("stylegan-v",), common(store, samples=None), tmp_path / "again")
    assert rescore(options) == 0
    again = load(tmp_path / "again")
    (other,) = {record.protocol for record in again.records} - {"tiny/v1"}
    found = {(r.variant, r.seed) for r in again.records if r.protocol == other and r.role == "variant"}
    assert found == {("ltx", 0), ("ltx", None), ("pika", None)}
    verdicts = {(c.claim, c.dataset): c for c in again.claims if c.protocol == other and c.metric == "fvd"}
    assert verdicts["LTX-Video beats PikaLabs", "ucf101"].effect is not None, "one set stands beside every seed"
