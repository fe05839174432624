"""The scripts of docs/scaling.md: shell without mistakes, options that exist, commands in the right order.

They are run with stand-ins for Slurm's, Ray's and our own commands, which note what they were asked.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer

from bench.cli import app

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "docs" / "scaling.md").read_text(), re.MULTILINE | re.DOTALL)
SCRIPTS = {match[1]: block for block in BLOCKS if (match := re.search(r"--job-name=(\S+)", block))}
ALLOCATION = {
    "SLURM_JOB_NODELIST": "n[1-4]", "SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "32",
    "SLURM_GPUS_ON_NODE": "4", "SLURM_ARRAY_TASK_ID": "3",
}  # fmt: skip
NOTE = 'echo "$(basename "$0") $* RAY_ADDRESS=${RAY_ADDRESS:-} token=${#RAY_AUTH_TOKEN}" >> "$NOTES"\n'
STANDS_IN = {
    "scontrol": "printf 'n1\\nn2\\nn3\\nn4\\n'\n",
    "srun": 'case "$*" in *hostname*) echo "10.0.0.1 fe80::1";; esac\n',
    "python": 'if [ -n "${SLOW:-}" ]; then trap \'echo "python was told" >> "$NOTES"; exit 130\' TERM; '
    "for k in $(seq 200); do sleep 0.1; done; fi\n",
    "ray": "true\n",
    "torchrun": "true\n",
}


def options_of(command: str) -> set[str]:
    group = typer.main.get_command(app)
    return {name for parameter in group.commands[command].params for name in parameter.opts}  # type: ignore[attr-defined]


def furnish(folder: Path) -> dict[str, str]:
    """The stand-ins, and an environment in which they are found."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name, body in STANDS_IN.items():
        for place in (folder / ".venv" / "bin" / name, folder / name):
            place.write_text(f"#!/bin/bash\n{NOTE}{body}")
            place.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(folder / "notes.txt"), **ALLOCATION}


def start(name: str, folder: Path, **more: str) -> "subprocess.Popen[str]":
    variables = {**furnish(folder), **more}
    (folder / "job.sh").write_text(SCRIPTS[name].replace("/shared/i2v-bench", str(folder)))
    return subprocess.Popen(["bash", folder / "job.sh"], env=variables, stderr=subprocess.PIPE, text=True)


def noted(folder: Path, *words: str) -> list[str]:
    """The lines so far; with `words` it waits until each is in one of them: calls in the background take a moment."""
    path = folder / "notes.txt"
    for _ in range(100):
        text = path.read_text() if path.exists() else ""
        if all(word in text for word in words):
            return text.splitlines()
        time.sleep(0.1)
    raise AssertionError(f"{words} not among these lines:\n{text}")


def test_all_recipes_are_found() -> None:
    assert set(SCRIPTS) == {"i2v-bench", "i2v-bench-ray", "i2v-bench-ranks"}


@pytest.mark.parametrize("script", BLOCKS)
def test_the_shell_has_no_mistake(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr


@pytest.mark.parametrize("script", BLOCKS)
def test_our_options_exist(script: str) -> None:
    calls = re.findall(r"-m bench (\w+)(.*?)(?:&|$)", script.replace("\\\n", " "), re.MULTILINE)
    assert calls
    for command, rest in calls:
        assert set(re.findall(r" (--[a-z-]+)", rest)) <= options_of(command)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_asks_for_what_it_says(name: str, tmp_path: Path) -> None:
    job = start(name, tmp_path)
    assert job.wait(30) == 0, job.stderr and job.stderr.read()
    calls = noted(tmp_path)
    assert all(line.endswith("token=64") == (name == "i2v-bench-ray") for line in calls if "-m bench run" in line)
    assert sum("-m bench run" in line for line in calls) == 1


def test_the_head_is_there_before_the_others_and_the_run(tmp_path: Path) -> None:
    assert start("i2v-bench-ray", tmp_path).wait(30) == 0
    calls = noted(tmp_path, "start --head", "--exclude=n1")
    place = {word: next(k for k, line in enumerate(calls) if word in line) for word in ("ray status", "-m bench run")}
    head = next(line for line in calls if "start --head" in line)
    others = next(line for line in calls if "--exclude=n1" in line)
    assert "--nodelist=n1" in head and "--node-ip-address=10.0.0.1" in head and "--port=24711" in head
    assert "RAY_ADDRESS= " in head, "a head that finds an address would join instead"
    assert "--nodes=3 --ntasks=3" in others and "--address=10.0.0.1:24711" in others and "--num-gpus=4" in others
    assert calls.index(others) > place["ray status"] < place["-m bench run"]
    run = calls[place["-m bench run"]]
    assert "--engine ray" in run and "RAY_ADDRESS=10.0.0.1:24711" in run


@pytest.mark.parametrize("name", ["i2v-bench", "i2v-bench-ray"])
def test_the_end_of_the_time_reaches_the_run(name: str, tmp_path: Path) -> None:
    job = start(name, tmp_path, SLOW="yes")
    noted(tmp_path, "-m bench run")
    time.sleep(0.3)  # for the stand-in to set its trap
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 130
    assert "python was told" in noted(tmp_path)
