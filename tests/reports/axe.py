"""What does axe-core find on a page? Faults that keep people with disabilities out, by impact.

axe-core (Deque, MPL-2.0) is no part of the repository: `.ci/run` installs it from npm into .cache/axe; BENCH_AXE names
another copy. Without one the tests that need it are left out, and say so.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reports.browser import Browser

INSTALLED = Path(__file__).parents[2] / ".cache/axe/node_modules/axe-core/axe.min.js"
AXE = Path(os.environ.get("BENCH_AXE") or INSTALLED)
HOW = "npm install --no-save --prefix .cache/axe axe-core@4.14.1"
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason=f"axe-core is not there, accessibility is not tried: {HOW}")
GRAVE = ("serious", "critical")


def faults(browser: Browser, within: str = "document") -> list[str]:
    """'rule: element' of every serious or critical fault of the page as it is now."""
    if not browser.value("typeof axe === 'object'"):
        browser.value(AXE.read_text(encoding="utf-8") + ";0")
    found = browser.value(f"axe.run({within}, {{resultTypes: ['violations']}}).then((r) => r.violations)")
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:120]}"
        for rule in found
        for node in rule["nodes"]
        if node["impact"] in GRAVE
    ]
