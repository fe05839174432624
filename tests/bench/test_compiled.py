"""Compiled code: only where a GPU is and the profile says so, a fingerprint of its own, and the same answers."""

import shutil
from pathlib import Path

import pytest
import torch

from bench import compiled, speed
from bench.fingerprint import FileHashes
from bench.measure import resolve_protocols
from bench.planner import build_plan
from bench.profile import Profile, load_profile
from bench.sources import find_sources
from bench.spec import load_question

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "ablations" / "dual_stream.yaml"


def machines(profile: Profile, device: str) -> dict[str, set[bool]]:
    """kind -> whether its steps are compiled."""
    sources = find_sources(profile, {}, {}, FileHashes())
    plan = build_plan([load_question(SPEC)], profile, sources, resolve_protocols((), profile, sources)[0], device)
    found: dict[str, set[bool]] = {}
    for step in plan.graph:
        found.setdefault(step.kind, set()).add(compiled.wanted(step.config))
    return found


def test_only_sampling_on_a_gpu_is_compiled_and_says_so_in_its_fingerprint() -> None:
    plain = load_profile("smoke")
    execution = plain.execution.model_copy(update={"compile": True})
    asked = plain.model_copy(update={"execution": execution})
    assert not any(flag for flags in machines(asked, "cpu").values() for flag in flags)
    on_gpu = machines(asked, "cuda")
    assert on_gpu.pop("sample") == {True}
    assert not any(flag for flags in on_gpu.values() for flag in flags)
    assert machines(plain, "cuda")["sample"] == {False}


def test_a_cpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(compiled, "compile_denoise", done.append)
    unet = torch.nn.Identity()
    for config, device in (({"machine": {"compile": True}}, "cpu"), ({"machine": {}}, "cuda:0"), ({}, "cuda:0")):
        compiled.compile_unet(unet, config, device)  # type: ignore[arg-type]
    assert not done
    compiled.compile_unet(unet, {"machine": {"compile": True}}, "cuda:0")  # type: ignore[arg-type]
    assert done == [unet]


def both_ways() -> tuple[torch.Tensor, torch.Tensor]:
    """Answers of the tiny U-Net, eager and compiled."""
    given = speed.setting("tiny", "cpu", clips=2, steps=2)
    race = speed.forward_race(given)
    eager = torch.from_numpy(race.ours())
    compiled.compile_denoise(given.model.unet)
    return eager, torch.from_numpy(race.ours())


def test_an_evaluation_is_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, not compiled: `fullgraph` raises at the first break."""
    made = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: made(f, backend="eager", **how))
    eager, traced = both_ways()
    torch.testing.assert_close(traced, eager, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_code_gives_the_same_answers() -> None:
    eager, made = both_ways()
    assert float((made - eager).abs().max()) < 1e-5 * float(eager.abs().max())
