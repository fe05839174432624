"""Colours that colour-blind readers can tell apart, and that stand out from the page, in light and in dark."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import reports

CSS = (Path(reports.__file__).parent / "templates/plot.css").read_text(encoding="utf-8")
SIGHT = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LMS = [[0.41222147, 0.53633254, 0.05144599], [0.21190350, 0.68069955, 0.10739696], [0.08830246, 0.28171884, 0.62997870]]
OKLAB = [
    [0.21045426, 0.79361779, -0.00407205],
    [1.97799850, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


def scheme(dark: bool) -> dict[str, str]:
    """Custom properties of the light scheme, or those that the dark one puts in their place."""
    light, night = CSS.split("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", night if dark else light))


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2: from 1 to 21."""
    lights = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (a, b))
    return lights[1] / lights[0]


def seen(colour: str, sight: str) -> np.ndarray:
    """OKLab coordinates of a colour as someone of this sight sees it."""
    rgb = np.clip(np.array(SIGHT[sight]) @ linear(colour), 0, 1)
    return np.array(OKLAB) @ np.cbrt(np.array(LMS) @ rgb)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("dark", [False, True])
def test_every_mark_stands_out_from_the_page(dark):
    colours = scheme(dark)
    for name in [f"s{i}" for i in range(7)] + ["base", "holds", "fails", "undecided"]:
        assert contrast(colours[name], colours["page"]) >= 3, name
    for name in ("ink", "soft", "holds", "fails", "undecided"):
        assert contrast(colours[name], colours["page"]) >= 4.5, name


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("dark", [False, True])
def test_any_two_series_differ_to_every_eye(dark, sight):
    colours = scheme(dark)
    for a, b in combinations([f"s{i}" for i in range(7)], 2):
        assert np.linalg.norm(seen(colours[a], sight) - seen(colours[b], sight)) > 0.1, (a, b)


def test_red_and_green_of_one_lightness_would_fail():
    assert np.linalg.norm(seen("#c04020", "deutan") - seen("#767600", "deutan")) < 0.1
