"""What stands between a model and a number? Every choice, by name, with who made it: the authors in public,
or us.

A protocol is a list of fields; its hash covers the name and all values, so two numbers with equal hashes were
made by the same rules. Names carry a version and never change their meaning; a name without one means the latest.
The lists are in `bench/protocols`. This module imports no torch: planning reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bench.fingerprint import digest
from bench.metrics.forms import ESTIMATORS
from bench.metrics.kernel import Polynomial
from bench.metrics.roots import ROOTS
from bench.metrics.uncertainty import Settings
from bench.protocols import dialects, own, paper
from bench.protocols.fields import Builder, Field, Given, Profile, profile_clips

SHORTEST = {"i3d-k400": 9}  # frames that a video network needs
SMALLEST = {"lpips-alex": 32, "lpips-vgg": 32, "lpips-squeeze": 32}  # pixels a side
FROM_PROFILE = (  # what a profile does when a clip is made: a protocol of fixed values must say the same
    *("frames", "frame_stride", "size", "sampler_steps", "sampler_spacing", "sampler_eta", "guidance"),
    "rate_condition",
)


@dataclass(frozen=True)
class Protocol:
    """A named, versioned list of choices."""

    name: str
    description: str
    choices: tuple[Field, ...]

    def fields(self) -> list[dict[str, Any]]:
        """As spec.json lists them: [{field, value, origin, words}]."""
        return [{"field": c.field, "value": c.value, "origin": c.origin, "words": c.words} for c in self.choices]

    @property
    def values(self) -> dict[str, Any]:
        """Value of each field."""
        return {choice.field: choice.value for choice in self.choices}

    @property
    def hash(self) -> str:
        """sha256 (hex) of the name and the values."""
        return digest({"name": self.name, "values": self.values})

    @property
    def config(self) -> dict[str, Any]:
        """What scoring steps find under config["protocol"]: name, hash and values, no words."""
        return {"name": self.name, "hash": self.hash, "values": self.values}


@dataclass(frozen=True)
class Scoring:
    """The part of a protocol that turns features into numbers, read back from a step's config.

    networks: metric -> the network behind it, for each metric that the protocol scores; asked_for: metric -> the
    network that another one stands in for.
    """

    name: str
    hash: str
    required: int  # videos, fewer are not comparable
    networks: Mapping[str, str]
    asked_for: Mapping[str, str]
    settings: Settings

    @staticmethod
    def read(config: Mapping[str, Any]) -> Scoring:
        """From `Protocol.config`. Raises ValueError naming what is missing or unknown."""
        name, values = str(config.get("name", "without a name")), config.get("values")
        if not isinstance(values, Mapping):
            raise ValueError(f"protocol {name}: its values are missing; wanted what Protocol.config gives")
        return Scoring(
            name=name,
            hash=str(config.get("hash", "")),
            required=int(values["required_count"]),
            networks=_networks(values),
            asked_for=_asked_for(values["stand_ins"]),
            settings=_settings(name, values),
        )


BEHIND = {  # metric: the field that names its network
    "fvd": "feature",
    "kvd": "feature",
    "pic": "pic_distance",
    "motion": "motion",
    "consistency": "consistency",
    "alignment": "alignment",
    "motion_as_asked": "feature",
    **dict.fromkeys(("end_conformity", "loop_closure", "step_distance"), "pic_distance"),
}
CLASSIFIER = "tiny-i3d"  # the one video network that names motions
OWN = ("motion_as_asked",)  # what no published evaluation has: its network stands in for no other


def _asked_for(stand_ins: Mapping[str, str]) -> dict[str, str]:
    """metric -> the network that another one stands in for."""
    return {metric: stand_ins[field] for metric, field in BEHIND.items() if field in stand_ins and metric not in OWN}


def _networks(values: Mapping[str, Any]) -> dict[str, str]:
    """Network of each metric that is scored, in the order of METRICS."""
    found = {metric: values[field] for metric, field in BEHIND.items()}
    if values["kvd_estimator"] is None:
        del found["kvd"]
    if values["feature"] != CLASSIFIER or values["motion"] is None:  # measured beside motion, under our own protocols
        del found["motion_as_asked"]
    return {metric: str(network) for metric, network in found.items() if network is not None}


def _settings(name: str, values: Mapping[str, Any]) -> Settings:
    def pick(field: str, known: Mapping[Any, Any]) -> Any:
        key = values.get(field)
        if key not in known:
            raise ValueError(f"protocol {name}: {field} is {key!r}; known: {', '.join(map(str, known))}")
        return known[key]

    kernel = values["kvd_kernel"] or {"degree": 3, "gamma": "1/D", "coef0": 1}
    gamma = None if kernel["gamma"] == "1/D" else float(kernel["gamma"])
    estimator = pick("kvd_estimator", {None: "unbiased", **{one: one for one in ESTIMATORS}})
    return Settings(
        ddof=pick("covariance_divisor", {"N - 1": 1, "N": 0}),
        kernel=Polynomial(int(kernel["degree"]), gamma, float(kernel["coef0"])),
        count_first_frame=pick("pic_first_frame", {"counts": True, "does not count": False, None: True}),
        root=pick("covariance_root", {root: root for root in ROOTS}),
        estimator=estimator,
        scale=float(values["kvd_scale"] or 1),
    )


@dataclass(frozen=True)
class Named:
    """A protocol that can be asked for by name; `build` fills in what a profile and the files at hand decide."""

    description: str
    build: Builder
    needs_profile: bool = False
    fixed: bool = False  # clips and sampler are its own, whatever the profile


def resolve(name: str, profile: Profile | None = None, measuring: Given | None = None) -> Protocol:
    """The protocol of that name, with or without its version (the latest).

    measuring: names of the networks at hand; None: all that the protocol asks for. Raises ValueError for an unknown
    name, and when a profile is needed.
    """
    full = full_name(name)
    named = PROTOCOLS[full]
    if named.needs_profile and profile is None:
        raise ValueError(f"protocol {full}: sizes and sampler come from a profile, and none was given")
    return Protocol(full, named.description, named.build(profile or {}, measuring))


def full_name(name: str) -> str:
    """A protocol's name with its version. Raises ValueError naming the known ones."""
    if name in PROTOCOLS:
        return name
    versions = [known for known in PROTOCOLS if known.rpartition("/")[0] == name]
    if versions:
        return max(versions, key=lambda known: int(known.rpartition("/v")[2]))
    near = get_close_matches(name, [*PROTOCOLS, *(known.rpartition("/")[0] for known in PROTOCOLS)], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"protocol is {name!r}. Known: {', '.join(PROTOCOLS)}.{hint}")


def check_measurable(protocol: Protocol) -> None:
    """Raises ValueError when the clips are too short or too small for the protocol's networks."""
    values = protocol.values
    frames, side = int(values["frames"]), min(values["size"])
    least = SHORTEST.get(values["feature"], 1)
    if frames < least:
        raise ValueError(
            f"protocol {protocol.name}: {values['feature']} needs clips of {least} frames or more, these have "
            f"{frames}. Leave out --weights i3d=FILE: a small network then stands in"
        )
    if side < SMALLEST.get(values["pic_distance"], 1):
        raise ValueError(
            f"protocol {protocol.name}: {values['pic_distance']} needs 32 pixels a side, clips have {side}"
        )


def disagreements(protocol: Protocol, profile: Profile) -> list[str]:
    """Where a profile makes clips by other rules than a protocol with rules of its own, in words."""
    if not PROTOCOLS[protocol.name].fixed:
        return []
    done = {one.field: one.value for one in profile_clips(profile)}
    return [
        f"{field} is {json.dumps(protocol.values[field])} in {protocol.name}, {json.dumps(done[field])} in the profile"
        for field in FROM_PROFILE
        if protocol.values[field] != done[field]
    ]


def to_json(protocol: Protocol) -> str:
    """One protocol as a JSON text: name, hash, description and fields with their words."""
    told = {"name": protocol.name, "hash": protocol.hash, "description": protocol.description}
    return json.dumps({**told, "fields": protocol.fields()}, indent=1, ensure_ascii=False)


PROTOCOLS: dict[str, Named] = {
    "dynamicrafter-256/v1": Named(
        "The paper's evaluation at 256 x 256, as far as it was told: 2048 videos, 16 frames at stride 3",
        paper.dynamicrafter_256,
        fixed=True,
    ),
    **{f"dynamicrafter-{size}/v1": Named(*paper.dynamicrafter(size), fixed=True) for size in paper.SIZES},
    "tiny/v1": Named(
        "The tiny world's evaluation, shaped like the paper's; sizes from the profile", own.tiny, needs_profile=True
    ),
    "profile/v1": Named(
        "Clips of any size and length, sizes and sampler from the profile; networks of the paper's evaluation",
        own.profile,
        needs_profile=True,
    ),
    **{name: Named(words, build, needs_profile=True) for name, (words, build) in dialects.builders().items()},
}
