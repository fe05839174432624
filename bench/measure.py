"""Which steps turn clips into numbers, and with which networks? The measuring part of a plan, for runs and for scores
of outside videos alike: equal questions give equal fingerprints, whoever asks.

A features step's config holds only what changes its arrays, so protocols with the same networks and preprocessing share
one pass; everything that does change them is in it (network, preprocessing, epsilon, the sha256 of the weights), so
features made for one protocol are never taken for another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import protocol as protocols
from bench.errors import UsageError
from bench.graph import File, Step
from bench.plan import ResolvedProtocol
from bench.profile import Profile, model_preset
from bench.protocols.measures import ROLES
from bench.sources import Sources
from bench.variants import config_to_json
from models.config import ClipConfig

OWN = ("i3d", "dreamsim", "lpips")  # roles of measuring networks that a user gives
ENDS_OF = {  # task of a variant -> what is measured of its clips' ends: the model that sees one picture has all
    "animate": ("end_conformity", "loop_closure", "step_distance"),
    "interpolate": ("end_conformity", "step_distance"),
    "loop": ("loop_closure", "step_distance"),
}
ROW_BYTES = 600.0  # of the features of one clip, roughly
Machine = Mapping[str, Any]


# ---- protocols ----


def given(sources: Sources, profile: Profile) -> frozenset[str]:
    """Names of the measuring networks at hand. Raises ValueError for an LPIPS trunk of no known kind."""
    names = {name for name, role in ROLES.items() if role in ("classifier", "perceptual", "i3d", "dreamsim")}
    found = {name for name in names if sources.has(ROLES[name])}
    if sources.has("lpips"):
        found.add(f"lpips-{lpips_net(sources.weight('lpips').path)}")
    if clip_file(sources) is not None:
        found.add(clip_name(profile))
    return frozenset(found)


def clip_file(sources: Sources) -> File | None:
    """The file with CLIP's two towers: its own, else the released checkpoint, which holds them."""
    roles = [role for role in ("clip", "dynamicrafter") if sources.has(role)]
    return sources.weight(roles[0]) if roles else None


def clip_name(profile: Profile) -> str:
    """What the pair of encoders of a profile's model is called."""
    return "openclip-vit-h-14" if model_preset(profile.model).clip == ClipConfig() else "tiny-clip"


def lpips_net(path: Path) -> str:
    """Which of torchvision's trunks a file holds, told from its entries."""
    from bench.metrics.state_files import read_state

    state = read_state(path)
    first = tuple(state["features.0.weight"].shape) if "features.0.weight" in state else ()
    if first == (64, 3, 11, 11):
        return "alex"
    if first == (64, 3, 3, 3):
        return "squeeze" if "features.3.squeeze.weight" in state else "vgg"
    raise ValueError(f"--weights lpips={path}: no trunk of torchvision's alexnet, vgg16 or squeezenet1_1")


def resolve_protocols(
    names: Sequence[str], profile: Profile, sources: Sources, sampled: bool = False
) -> list[ResolvedProtocol]:
    """Protocols by name (none: the profile's own), each once, with the networks at hand.

    sampled: the clips are made here, by the profile, which a protocol with rules of its own must then agree with.
    Raises UsageError with every error.
    """
    found: list[ResolvedProtocol] = []
    errors: list[str] = []
    told = {**profile.model_dump(mode="json"), "frame_rate": model_preset(profile.model).frame_rate}
    try:
        at_hand = given(sources, profile)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for name in names or (profile.protocol,):
        where = f"--protocol {name}" if names else f"profile {profile.name}"
        try:
            one = protocols.resolve(name, told, at_hand)
            protocols.check_measurable(one)
        except ValueError as error:
            errors.append(f"{where}: {error}")
            continue
        errors += [f"{where}: {words}. {REMEDY}" for words in protocols.disagreements(one, told) if sampled]
        if one.name not in [other.name for other in found]:
            found.append(ResolvedProtocol(one.name, one.config, one.fields()))
    errors += [] if errors else unused(found, sources)
    if errors:
        raise UsageError(errors)
    return found


REMEDY = "Change the profile, or let it name profile/v1, which takes its values from the profile"


def unused(found: Sequence[ResolvedProtocol], sources: Sources) -> list[str]:
    """Measuring networks that were given and that no protocol looks at, in words."""
    used = {ROLES.get(one.config["values"][field]) for one in found for field in ("feature", "pic_distance")}
    told = ", ".join(
        f"{one.name} with {' and '.join(str(one.config['values'][f]) for f in ('feature', 'pic_distance'))}"
        for one in found
    )
    return [
        f"--weights {role}: nothing here is measured with it ({told}). Leave it out, or name a protocol that asks for "
        "it (`list protocols`)"
        for role in OWN
        if sources.has(role) and role not in used
    ]


# ---- steps ----


def features_step(
    protocol: ResolvedProtocol,
    profile: Profile,
    sources: Sources,
    machine: Machine,
    label: str,
    clips: Step | File,
    conditions: Step | File | None,
    count: int,
    real: bool = False,
    ends: Sequence[str] = (),
) -> Step:
    """What a protocol's networks say of the first `count` clips.

    conditions: clips whose frame 0 is the input image of the clip with the same id; None: not known, so no PIC.
    real: these are the reference itself, which some dialects read another way, and which has no PIC.
    ends: what is measured of the ends of clips (bench/metrics/ends.py), by the distance of PIC.
    """
    values = protocol.config["values"]
    image = None if real or conditions is None else values["pic_distance"]
    config: dict[str, Any] = {
        "count": count,
        "micro_batch": profile.batches.features,
        "video": {
            "network": values["feature"],
            "input": values["feature_input"],
            "eps": values["feature_eps"],
            "bytes": values["reference_bytes"] if real else "as they are",
        },
        "image": image,
        "motion": values["motion"] is not None,
        "clip": None,
        "machine": dict(machine),
    }
    inputs: dict[str, Step | File] = {"clips": clips}
    if image is not None and conditions is not None:
        inputs["conditions"] = conditions
    inputs |= {ROLES[name]: sources.weight(ROLES[name]) for name in (values["feature"], image) if name}
    towers = clip_file(sources)
    if values["alignment"] is not None and towers is not None:
        config["clip"] = {"network": values["alignment"], "towers": config_to_json(model_preset(profile.model).clip)}
        inputs["clip"] = towers
    if ends and values["pic_distance"] is not None and conditions is not None:
        config["ends"] = {"network": values["pic_distance"], "arrays": list(ends)}
        role = ROLES[values["pic_distance"]]
        inputs |= {"conditions": conditions, role: sources.weight(role)}
    cost = count * profile.costs.feature_clip
    return Step("features", f"features {label}", config, inputs, {}, cost, count * ROW_BYTES)


def score_step(
    protocol: ResolvedProtocol,
    profile: Profile,
    label: str,
    dataset: str,
    samples: int,
    generated: Step,
    reference: Step | None,
    comparison: str,
    seed: int | None,
) -> Step:
    """The numbers of some features; comparison "generated" | "baseline". Without `reference`, those that need none."""
    config = {**_about(protocol, dataset, samples), "comparison": comparison, "seed": seed}
    inputs: dict[str, Step | File] = {"generated": generated}
    if reference is not None:
        inputs["reference"] = reference
    return Step("score", f"score {label}", config, inputs, {}, profile.costs.score, 4e3)


def aggregate_step(
    protocol: ResolvedProtocol,
    profile: Profile,
    label: str,
    dataset: str,
    samples: int,
    seeds: Mapping[int, Step],
    reference: Step,
) -> Step:
    """The mean over training seeds, {seed: features}."""
    config = {**_about(protocol, dataset, samples), "seeds": list(seeds)}
    inputs: dict[str, Step | File] = {"reference": reference}
    inputs |= {f"seed_{seed}": step for seed, step in seeds.items()}
    return Step("aggregate", f"aggregate {label}", config, inputs, {}, profile.costs.aggregate, 4e3)


def claims_step(
    protocol: ResolvedProtocol,
    profile: Profile,
    question: str,
    dataset: str,
    samples: int,
    seeds: Sequence[int],
    claims: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Step | File],
    label: str = "",
) -> Step:
    """Verdicts on a question's claims; inputs are "reference" and "<variant>.seed_<seed>" for each named variant."""
    config = {
        **_about(protocol, dataset, samples),
        "question": question,
        "seeds": list(seeds),
        "claims": [dict(claim) for claim in claims],
    }
    words = label or f"claims {question} {dataset}"
    return Step("claims", words, config, inputs, {}, profile.costs.claims * len(claims), 4e3)


def _about(protocol: ResolvedProtocol, dataset: str, samples: int) -> dict[str, Any]:
    return {"protocol": protocol.config, "dataset": dataset, "samples": samples}
