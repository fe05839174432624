"""Scores and runs to try the commands on: a small world, its steps done in this process."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.engine import Outcome
from bench.local_engine import LocalEngine
from bench.scoring import recheck, rescore, score
from bench.scoring import setting as settings
from bench.work import _silent
from bench.worker import perform

PROFILE = "smoke"
SAMPLES = 6


class InProcess(LocalEngine):
    """Does the steps one after another, without worker processes: importing torch once is enough for a test."""

    def run(self, graph):
        outcome = self.outcome = Outcome()
        for step in graph:
            if self.store.has(step.kind, step.fingerprint):
                outcome.reused.add(step.fingerprint)
            elif any(parent.fingerprint in outcome.failed | dict.fromkeys(outcome.skipped) for parent in step.parents):
                outcome.skipped.add(step.fingerprint)
            else:
                self._one(step, outcome)
        return outcome

    def _one(self, step, outcome):
        self.store.part("locks")
        try:
            outcome.costs[step.fingerprint] = perform(self.task(step), self.store, "cpu", 1, _silent)
        except Exception as error:
            outcome.failed[step.fingerprint] = f"{type(error).__name__}: {error}"


def quick(patch, page=False):
    """No worker processes and, unless asked for, no page: rendering has tests of its own."""
    patch.setattr(settings, "LocalEngine", InProcess)
    for module in () if page else (score, rescore, recheck):
        patch.setattr(module, "render_page", lambda folder: folder / "report.html")


@pytest.fixture(autouse=True)
def in_process(monkeypatch, request):
    quick(monkeypatch, page="page" in request.fixturenames)


@pytest.fixture
def page():
    """Asks for the real page."""


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One store for all tests: the world is made once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def conditions(store, tmp_path_factory):
    """Exported conditions of the small world's UCF-101: the folder that holds ucf101/."""
    from bench.scoring.hand_out import HandOut, hand_out

    out = tmp_path_factory.mktemp("conditions")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        hand_out(HandOut("ucf101", "tiny/v1", out, common(store), original=True))
    return out


def common(store: Path, **more):
    return settings.Common(
        **{"profile": PROFILE, "samples": SAMPLES, "store": store, "workers": 1, "quiet": True} | more
    )


def reference_clips(store: Path) -> Path:
    """The artifact with the clips that the conditions were taken from."""
    for folder in (store / "artifacts/clips").iterdir():
        config = json.loads((folder / "manifest.json").read_text())["config"]
        if (config["dataset"], config["content"], config["rule"]["count"]) == ("ucf101", None, 2 * SAMPLES):
            return folder
    raise AssertionError("no such artifact")


def system(conditions: Path, out: Path, kind: str = "ffv1", shift: int = 1, count: int | None = None) -> Path:
    """A system that animates exported conditions: each picture moves to the side by `shift` pixels a frame."""
    from bench.scoring.conditions import read_conditions
    from bench.scoring.lossless import FORMATS
    from datasets.images import read_image

    for item in read_conditions(conditions).items[:count]:
        first = read_image(conditions / item.file)
        clip = np.stack([np.roll(first, shift * k, axis=1) for k in range(item.frames + 2)])
        FORMATS[kind](out / item.name, clip, item.fps)
    return out


def records(folder: Path):
    from reports.load import load

    return {(r.variant, r.dataset, r.metric, r.seed): r for r in load(folder).records}


def edit(path: Path, change):
    """Rewrites a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


QUESTION = {
    "question": "Does it help to move?",
    "source": "a test",
    "variants": {"full": {"label": "Moves"}, "slow": {"label": "w/o moving"}},
    "expect": [{"claim": "moving is better", "metric": "fvd", "better": ["full", "slow"]}],
}


@pytest.fixture(scope="session")
def run(store, conditions, tmp_path_factory):
    """A run folder with two variants of two training seeds, whose samples were made by nobody's network."""
    folder = tmp_path_factory.mktemp("run") / "toy"
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        make_run(folder, store, conditions, tmp_path_factory.mktemp("samples"))
    return folder


def make_run(folder: Path, store: Path, conditions: Path, videos: Path) -> None:
    from bench.measure import resolve_protocols
    from bench.scoring.conditions import read_conditions
    from bench.scoring.gather import gather
    from bench.scoring.matching import Matched, Names, match_outputs
    from bench.scoring.plan import ScorePlan, SetPlan, Steps
    from bench.scoring.sources import find_references, weights_of

    setting = settings.Setting.of(common(store))
    sources = weights_of(setting.profile, (), setting.hashes)
    plan = ScorePlan(setting.profile, sources, resolve_protocols((), setting.profile, sources), SAMPLES)
    (reference,) = find_references(setting.profile, ("ucf101=world",), setting.hashes)
    found = read_conditions(conditions / "ucf101")
    of = SetPlan("ucf101", videos, Matched([], True), reference, found, "tiny")
    plan.sets.append(of)
    sets, items = [], {}
    for variant, shift in (("full", 2), ("slow", 0)):
        for seed in (0, 1):
            place = system(conditions / "ucf101", videos / f"{variant}{seed}", shift=shift + seed)
            known = match_outputs(place, Names.of([i.id for i in found.items], found.aliases), found.folder / "frames")
            items[place.name] = known.items
            label = QUESTION["variants"][variant]["label"]
            about = {"question": "moving", "variant": variant, "label": label, "role": "variant", "notes": []}
            sets.append({**about, "dataset": "ucf101", "seed": seed, "folder": place.name})
    check = recheck.Check({}, setting, plan)
    recheck._under(check, Steps(plan, setting.device, setting.hashes), of, plan.protocols[0], sets, items)
    outcome = setting.do(plan.graph, folder)
    assert outcome.complete, outcome.failed
    gather(setting, plan, folder, outcome, {"question": "?"}, {"moving": QUESTION})
