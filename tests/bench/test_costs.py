"""The plan on paper: seconds follow from operations, ranks and rates; the time by the clock from the graph."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import costs
from bench.cli import main
from bench.costs import GPUS, Assumed, Costing, OperationCounter, Rates, read_rates, shards
from bench.errors import UsageError
from bench.fullsize import PUBLISHED
from bench.graph import File, Graph, Step
from bench.plan_paper import Asked, assumed_of, on_paper
from bench.profile import Profile, load_profile, model_preset
from bench.runner import Options, prepare
from bench.schedule import timetable
from models import flops

ROOT = Path(__file__).parents[2]
SPECS = ("dual_stream", "stages", "training_paradigm")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Graph]:
    """A full-size plan before anything is given."""
    store = tmp_path_factory.mktemp("store")
    specs = tuple(ROOT / "ablations" / f"{name}.yaml" for name in SPECS)
    plan = prepare(Options(specs=specs, profile="256", store=store, device="cpu")).plan
    return plan.profile, plan.graph


def graph(*edges: tuple[str, float, tuple[str, ...]]) -> tuple[Graph, dict[str, float]]:
    made, seconds = Graph(), {}
    by_name: dict[str, Step] = {}
    for name, cost, inputs in edges:
        step = Step("score", name, {"name": name}, {k: by_name[k] for k in inputs}, cost=cost)
        by_name[name] = made.add(step)
        seconds[step.fingerprint] = cost
    return made, seconds


def test_time_by_the_clock_of_a_graph_worked_out_by_hand() -> None:
    made, seconds = graph(("a", 1, ()), ("b", 5, ("a",)), ("c", 2, ("a",)), ("d", 2, ("a",)), ("e", 1, ("b", "c")))
    alone, two, many = (timetable(made, seconds, n) for n in (1, 2, 9))
    assert (alone.wall, two.wall, many.wall) == (11, 7, 7)
    assert alone.longest == 7 and alone.work == 11 and alone.width == pytest.approx(11 / 7)
    assert [step.label for step in alone.chain] == ["a", "b", "e"]
    assert (alone.widest, two.widest, many.widest) == (1, 2, 3)


def test_work_that_is_done_takes_no_time() -> None:
    made, seconds = graph(("a", 4, ()), ("b", 3, ("a",)))
    some = {f: 0.0 if made.steps[f].label == "a" else s for f, s in seconds.items()}
    assert timetable(made, some, 1).wall == 3
    assert [step.label for step in timetable(made, some, 1).chain] == ["b"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_profiles_efficiency_is_what_the_authors_seconds_come_to(name: str) -> None:
    profile = load_profile(name)
    work = flops.sampling_flops(model_preset(profile.model), 50, 2)
    seconds, _ = PUBLISHED[name]
    assert profile.costs.gpu == "a100"
    assert profile.costs.efficiency == pytest.approx(work / seconds / GPUS["a100"].peak, rel=0.01)


def test_a_step_on_a_gpu_takes_its_operations(paper: tuple[Profile, Graph]) -> None:
    profile, steps = paper
    costing = Costing(profile, assumed_of(Asked(), profile, 1))
    by_label = {step.label: step for step in steps}
    sample = costing.alone(by_label["sample full ucf101 seed 0"]) - profile.costs.start
    assert sample == pytest.approx(2048 * PUBLISHED["256"][0], rel=0.01)
    faster = Costing(profile, Assumed(1, gpu="h200", efficiency=0.42))
    ratio = 0.42 * GPUS["h200"].peak / (profile.costs.efficiency * GPUS["a100"].peak)
    again = faster.alone(by_label["sample full ucf101 seed 0"]) - profile.costs.start
    assert sample / again == pytest.approx(ratio)
    without = costing.operations(by_label["sample no_ctx ucf101 seed 0"])
    assert 0.9 < without / costing.operations(by_label["sample full ucf101 seed 0"]) < 1  # no image stream: less to do


def test_what_a_stage_trains_decides_its_operations(paper: tuple[Profile, Graph]) -> None:
    profile, steps = paper
    counted = {s.label: Costing(profile, Assumed(1)).operations(s) for s in steps if s.kind == "train"}
    assert counted["train fine_tune_entire stage iii seed 0"] > 1.1 * counted["train full stage iii seed 0"]
    clips = 100_000 * 64
    model = model_preset(profile.model)
    assert counted["train fine_tune_entire stage iii seed 0"] == pytest.approx(3 * clips * flops.forward_flops(model),
                                                                                rel=0.03)  # fmt: skip


def test_a_training_set_that_is_streamed_is_encoded_again_and_again(paper: tuple[Profile, Graph]) -> None:
    profile, steps = paper
    count = OperationCounter(profile)
    train = next(s for s in steps if s.label == "train full stage iii seed 0")
    streamed = replace(train, inputs={**train.inputs, "shards": File(Path("shards"), "digest")})
    model = model_preset(profile.model)
    assert count(streamed) - count(train) == pytest.approx(6_400_000 * flops.clip_encoding_flops(model, 16))
    again = replace(train, config={**train.config, "gradient_checkpointing": True})
    assert count(again) - count(train) == pytest.approx(6_400_000 * flops.forward_flops(model))


def test_ranks_share_a_step_in_whole_shards_and_exchange_gradients(paper: tuple[Profile, Graph]) -> None:
    profile, steps = paper
    train = next(s for s in steps if s.label == "train full stage iii seed 0")
    assert shards(train) == 16  # 64 clips in micro-batches of 4
    one, eight, twelve, many = (
        Costing(profile, Assumed(64, ranks=n, gpu="h200", efficiency=0.4)) for n in (1, 8, 12, 64)
    )
    alone = one.alone(train) - profile.costs.start
    trained = flops.trained_parameters(model_preset("dynamicrafter_256"), train.config["groups"])
    exchange = 100_000 * 2 * 7 / 8 * 4 * trained / GPUS["h200"].link
    assert eight.together(train) - profile.costs.start == pytest.approx(alone / 8 + exchange)
    assert twelve.together(train) > eight.together(train)  # two shards for the slowest as well, and over the network
    assert many.together(train) > alone / 16  # more ranks than shards wait
    score = next(s for s in steps if s.kind == "score")
    assert many.together(score) == many.alone(score)


def test_more_devices_never_take_longer_and_stop_at_the_longest_chain(paper: tuple[Profile, Graph]) -> None:
    profile, steps = paper
    walls = []
    for devices in (1, 8, 64, 1000):
        found = on_paper(steps, list(steps), Costing(profile, Assumed(devices, gpu="h200", efficiency=0.4, price=2.0)))
        walls.append(found.times.wall)
        assert found.times.wall >= found.times.longest
        assert found.gpu_seconds <= found.times.work
        assert found.dollars(found.gpu_seconds) == pytest.approx(2 * found.gpu_seconds / 3600)
    assert walls == sorted(walls, reverse=True) and walls[-1] == pytest.approx(found.times.longest)


def measured(folder: Path, device: str, *lines: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps({"device": device}))
    (folder / "costs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_rates_are_those_of_the_run_that_was_measured(paper: tuple[Profile, Graph], tmp_path: Path) -> None:
    profile = paper[0].model_copy(update={"costs": paper[0].costs.model_copy(update={"start": 1.0})})
    train = {"kind": "train", "seconds": 5.0, "cpu_seconds": 11.0, "operations": 10.0, "planned_seconds": 1.0}
    score = {"kind": "score", "seconds": 4.0, "cpu_seconds": 3.0, "operations": 0, "planned_seconds": 2.0}
    of_cpu = read_rates(measured(tmp_path / "cpu", "cpu", train, train, score), profile)
    assert of_cpu == Rates({"train": pytest.approx(1.0)}, {"score": pytest.approx(1.5)})
    of_gpu = read_rates(measured(tmp_path / "gpu", "cuda:0", train, score), profile)
    assert of_gpu == Rates({"train": pytest.approx(0.4)}, {"score": pytest.approx(2.0)})
    step = next(s for s in paper[1] if s.kind == "train")
    costing = Costing(profile, replace(Assumed(1, gpu="a100"), rates=of_gpu))
    assert costing.alone(step) == pytest.approx(1 + 0.4 * costing.operations(step))


@pytest.mark.parametrize("lines", [[], [{"kind": "train", "seconds": 1.0, "cpu_seconds": 1.0}]])
def test_a_run_that_tells_no_work_gives_no_rates(
    paper: tuple[Profile, Graph], tmp_path: Path, lines: list[Any]
) -> None:
    with pytest.raises(UsageError, match="does not tell the work"):
        read_rates(measured(tmp_path / "run", "cpu", *lines), paper[0])
    with pytest.raises(UsageError, match="no folder of a finished run"):
        read_rates(tmp_path / "nowhere", paper[0])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(gpu="h20"), "Did you mean 'h200'"),
        (Asked(gpus=0), "--gpus is 0"),
        (Asked(gpus=4, ranks=8), "give --gpus 8 or more"),
        (Asked(efficiency=1.5), "--efficiency is 1.5"),
        (Asked(price=-1.0), "--price is -1"),
    ],
)
def test_machines_that_cannot_be_are_refused(paper: tuple[Profile, Graph], asked: Asked, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        assumed_of(asked, paper[0], 1)
    assert words in str(caught.value)


def test_a_profile_of_a_cpu_needs_to_be_told_of_a_gpu() -> None:
    with pytest.raises(UsageError, match="--price are of a GPU"):
        assumed_of(Asked(price=1.0), load_profile("tiny"), 2)
    with pytest.raises(UsageError, match="give --efficiency"):
        assumed_of(Asked(gpu="h200"), load_profile("tiny"), 2)
    assert assumed_of(Asked(), load_profile("tiny"), 2) == Assumed(2)


def test_the_command_tells_programs_and_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", str(ROOT / "ablations" / "dual_stream.yaml"), "--profile", "256", "--store", str(tmp_path)]
    machines = ["--gpu", "h200", "--gpus", "8", "--efficiency", "0.4", "--price", "2.5"]
    assert main([*command, *machines, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["paper"]["devices"] == 8 and told["paper"]["dollars_held"] > told["paper"]["dollars_used"] > 0
    by_kind: dict[str, float] = defaultdict(float)
    for step in told["steps"]:
        by_kind[step["kind"]] += step["operations"]
    assert {k: v for k, v in by_kind.items() if v} == pytest.approx(told["paper"]["operations"])
    assert main([*command, *machines]) == 0
    text = capsys.readouterr().out
    assert "8 x h200 at 40 % of 989 TFLOP/s" in text and "EFLOP" in text and "at 2.5 for a GPU and hour" in text
    assert main([*command, "--gpu", "h20"]) == 2


def test_planning_imports_no_torch() -> None:
    code = "import sys, bench.plan_table, bench.runner; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_every_gpu_has_a_rate_and_a_link() -> None:
    assert all(gpu.peak > 1e14 and gpu.link > 1e10 for gpu in costs.GPUS.values())


@pytest.mark.slow
def test_a_smoke_run_costs_about_what_was_planned(tmp_path: Path) -> None:
    """On an idle machine within 25 % (docs/scaling.md); a busy one makes CPU seconds longer, hence the wide bound."""
    specs = [str(ROOT / "ablations" / "released.yaml"), "--profile", "smoke", "--store", str(tmp_path / "store")]
    assert main(["plan", *specs, "--workers", "1", "--json"]) == 0
    options = Options(specs=(Path(specs[0]),), profile="smoke", store=tmp_path / "store", workers=1, device="cpu")
    prepared = prepare(options)
    costing = Costing(prepared.plan.profile, Assumed(1))
    planned = sum(map(costing.alone, prepared.plan.graph)) + costing.profile.costs.worker
    assert main(["run", *specs, "--workers", "1", "--quiet", "--out", str(tmp_path / "run")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "costs.jsonl").read_text().splitlines()]
    spent = sum(line["cpu_seconds"] for line in lines)
    assert 0.5 < planned / spent < 1.5
    assert main(["plan", *specs, "--rates", str(tmp_path / "run"), "--json"]) == 0
    counted = {line["kind"] for line in lines if line["operations"]}
    assert counted == {"encode", "train", "sample", "baseline"}
