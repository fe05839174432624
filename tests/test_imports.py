"""The arrows between the folders hold, reports need no torch, and `datasets` is ours.

bench -> models, datasets, reports; these three import neither bench nor each other. What others expect of
Hugging Face's `datasets` still works beside ours.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("bench", "models", "datasets", "reports")


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} holds no module"
    return found


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere in it, in functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} if not node.level else {path.relative_to(ROOT).parts[0]}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {str(a.value).split(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return found


def python(code: str) -> str:
    """What a fresh interpreter prints, started in the root as `python -m bench` is."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["models", "datasets", "reports"])
def test_no_arrow_points_back_or_across(package):
    forbidden = set(OURS) - {package}
    wrong = {str(path.relative_to(ROOT)): imported(path) & forbidden for path in sources(package)}
    assert not {path: names for path, names in wrong.items() if names}


def test_the_reader_of_imports_sees_every_way_of_importing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "models" / "x.py"
    path.parent.mkdir()
    path.write_text(
        "import bench.plan as p\ndef f():\n    from reports import record\n"
        "    import importlib\n    importlib.import_module('datasets.clip')\nfrom . import y\n"
    )
    assert imported(path) == {"bench", "reports", "importlib", "datasets", "models"}


def test_no_file_of_ours_imports_hugging_faces_datasets():
    names = {path.stem for path in sources("datasets")}
    for package in OURS:
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module == "datasets" and not node.level:
                    assert {alias.name for alias in node.names} <= names | {"IS_I2V_BENCH"}, path


@pytest.mark.parametrize("package", ["reports", "datasets"])
def test_reports_and_datasets_never_import_torch(package):
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources(package)]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    assert python(code + "print(sorted({'torch', 'open_clip', 'torchvision'} & set(sys.modules)))") == "[]"


def test_datasets_is_ours():
    assert python("import datasets; print(datasets.IS_I2V_BENCH, datasets.__file__)") == (
        f"True {ROOT / 'datasets' / '__init__.py'}"
    )
    import datasets

    assert datasets.IS_I2V_BENCH  # under pytest too, where tests/datasets lies nearer


@pytest.mark.parametrize("library", ["open_clip", "transformers", "diffusers", "lpips"])
def test_other_libraries_work_beside_our_datasets(library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    assert python(f"import datasets, {library}; print(datasets.IS_I2V_BENCH)") == "True"
