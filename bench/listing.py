"""What there is to run, by name: questions, profiles, protocols, datasets, systems, weights."""

from __future__ import annotations

from bench.errors import BenchError, UsageError, known
from bench.profile import MEASURING, ROOT, WEIGHTS, load_profile, profile_names
from bench.sources import CONTENTS
from bench.spec import load_question
from bench.system_list import entries

Rows = dict[str, str]


def listing(what: str | None = None) -> dict[str, Rows]:
    """{section: {name: words}} of one section or all. Raises UsageError for an unknown section."""
    if what is not None and what not in SECTIONS:
        raise UsageError(f"list: '{what}' is not known. {known(what, SECTIONS)}")
    return {name: SECTIONS[name]() for name in ([what] if what else SECTIONS)}


def questions() -> Rows:
    """Specs in ablations/."""
    found = {}
    for path in sorted((ROOT / "ablations").glob("*.yaml")):
        try:
            question = load_question(path)
            found[path.stem] = f"{question.question} ({', '.join(v.name for v in question.variants)})"
        except BenchError as error:
            found[path.stem] = f"cannot be read: {str(error).splitlines()[0]}"
    return found


def profiles() -> Rows:
    """Profiles in ablations/profiles/."""
    found = {}
    for name in profile_names():
        try:
            found[name] = load_profile(name).description
        except BenchError as error:
            found[name] = f"cannot be read: {str(error).splitlines()[0]}"
    return found


def protocols() -> Rows:
    """Named protocols."""
    from bench.protocol import PROTOCOLS

    return {name: protocol.description for name, protocol in sorted(PROTOCOLS.items())}


def datasets() -> Rows:
    """Sets that `--data` can replace and `check data` can read."""
    return {
        "ucf101": "evaluation: UCF-101/<Class>/v_<Class>_gXX_cYY.avi, split lists if there are any",
        "msrvtt": "evaluation: *_videodatainfo.json or the 1k-A CSV, and the videos",
        "train": "training: WebVid-style CSV + mp4, or a plain folder of videos and prompts",
        "webvid": "check data: WebVid-style CSV + mp4",
        "folder": "check data: a plain folder of videos and prompts",
    }


def systems() -> Rows:
    """What can be compared: how it comes in, whether it is here, what is missing and where to put it."""
    return {entry.name: entry.words for entry in entries()}


def weights() -> Rows:
    """Roles of weights and the files of the tiny profile."""
    files = load_profile("tiny").weights
    return {role: _weight(role, files[role]) if role in files else CONTENTS[role] for role in WEIGHTS}


def _weight(role: str, file: str) -> str:
    there = "" if (ROOT / file).is_file() else " (not there yet)"
    return f"{file}{there}{' (belongs to the protocol: not for --weights)' if role in MEASURING else ''}"



SECTIONS = {
    "questions": questions,
    "profiles": profiles,
    "protocols": protocols,
    "datasets": datasets,
    "systems": systems,
    "weights": weights,
}
