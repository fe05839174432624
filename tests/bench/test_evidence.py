"""Curves of FVD against N reach the run folder with the names of what they are of, and only where a step left some."""

from types import SimpleNamespace
from typing import Any

from bench.evidence import extrapolation_lines


class Folder:
    """What `extrapolation_lines` asks of a finished run: a plan, and files of steps."""

    def __init__(self, left: dict[str, list[dict[str, Any]]]) -> None:
        variants = [SimpleNamespace(name=name, label=name.upper()) for name in ("full", "no_ctx")]
        evaluation = {"ucf101": SimpleNamespace(baselines={"real": SimpleNamespace(score="score real")})}
        built = {
            ("q", name): SimpleNamespace(
                scored={("ucf101", seed): SimpleNamespace(score=f"score {name} {seed}") for seed in (0, 1)},
                aggregate={"ucf101": f"aggregate {name}"},
            )
            for name in ("full", "no_ctx")
        }
        self.plan = SimpleNamespace(
            questions=[SimpleNamespace(name="q", variants=variants)],
            variants=built,
            sets=lambda question: {"q": evaluation}[question],
            seeds=lambda question: {"q": (0, 1)}[question],
        )
        self.left = left

    def read(self, step: str, name: str) -> list[dict[str, Any]] | None:
        assert name == "extrapolation.json"
        return self.left.get(step)


def test_every_curve_says_whose_it_is() -> None:
    curve = {"metric": "fvd", "n": 8, "features": "tiny-i3d", "protocol": "tiny/v1", "points": [], "fit": None}
    left = {name: [curve] for name in ("score full 1", "aggregate full", "score real")}
    lines = list(extrapolation_lines(Folder(left), {"real": "Real against real"}))  # type: ignore[arg-type]
    about = [(line["variant"], line["label"], line["role"], line["seed"]) for line in lines]
    assert about == [
        ("full", "FULL", "variant", 1),
        ("full", "FULL", "variant", None),
        ("real", "Real against real", "baseline", None),
    ]
    assert all(line["question"] == "q" and line["dataset"] == "ucf101" and line["n"] == 8 for line in lines)


def test_steps_that_left_none_leave_no_line() -> None:
    assert list(extrapolation_lines(Folder({}), {"real": "Real against real"})) == []  # type: ignore[arg-type]
