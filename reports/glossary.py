"""What do the names mean? Variants, baselines, metrics and verdicts in a sentence each, for readers who are new.

Source: the switches of a spec (DESIGN.md section 4) and the method of arXiv:2310.12190, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports.load import Run, mapping, number, text
from reports.words import dataset_name, listed, metric_name

METHOD = (
    "DynamiCrafter (Xing et al., arXiv:2310.12190) makes a short video from one picture and a sentence. The picture "
    "reaches a text-to-video model in two streams: as context tokens that all layers attend to, weighted by a learned "
    "λ per layer (the context stream), and as a copy of the picture beside every noisy frame (visual detail guidance, "
    "VDG). It is trained in three stages. A variant has one part taken out or exchanged; the variants of a question "
    "are trained with the same number of steps, batches and data order, and animate the same pictures."
)
FULL_MODEL = "the whole method: both streams, learned λ, three stages, a random frame of the clip as the condition"
OUTSIDE = "videos of another system, scored as they came"
UNSAID = "the run does not say how it differs from the others"
SWITCHES = {  # (key of a spec, value) -> what the variant has instead
    ("model.context", "none"): "no context stream: the picture comes in through visual detail guidance alone",
    ("model.context", "global_token"): "one global image token as context, instead of all image tokens",
    ("model.context", "full"): "all image tokens as context",
    ("model.context", "beside_text"): "one global image embedding beside the text tokens, as in VideoComposer, and no "
    "stream of the image's own",
    ("model.context", "hierarchical"): "a global image embedding and the tokens of a detail encoder beside the text "
    "tokens, as in I2VGen-XL, and no stream of the image's own",
    ("model.visual_detail_guidance", "none"): "no visual detail guidance: the picture comes in as context alone",
    ("model.visual_detail_guidance", "first_and_last"): "visual detail guidance for the first and the last frame",
    ("model.visual_detail_guidance", "stc_encoder"): "the condition latent beside every frame through VideoComposer's "
    "spatio-temporal condition encoder",
    ("model.visual_detail_guidance", "first_frame"): "the condition latent at the first frame, places in the clip at "
    "the others, through I2VGen-XL's encoder",
    ("model.visual_detail_guidance", "repeat"): "visual detail guidance for every frame",
    ("model.image_scale", "fixed"): "λ = 1 in every layer, not learned",
    ("model.image_scale", "learned"): "λ learned in every layer",
    ("train.schedule", "one_stage"): "the context projector is trained on the video model from the start",
    ("train.schedule", "no_adaptation"): "stage ii, the adaptation to the video model, is left out",
    ("train.trainable", "entire"): "the last stage trains the entire U-Net, not its spatial layers alone",
    ("train.captions", "full"): "trained with the captions as they are",
    ("train.captions", "undescribed"): "stages ii and iii are trained with captions of which, in the tiny world, "
    "half lost their words of motion",
    ("train.captions", "motion"): "stages ii and iii are trained with the words of motion alone, empty where the "
    "caption tells of none",
    ("train.captions", "motion_filtered"): "stages ii and iii are trained with the words of motion alone, on the clips "
    "whose caption tells of motion",
    ("train.condition_frame", "first"): "trained with the first frame of each clip as the only condition",
    ("train.condition_frame", "random"): "trained with a random frame of each clip as the condition",
    ("sampling.guidance", "none"): "sampled without guidance",
    ("sampling.guidance", "single"): "text and picture guided together, by one scale",
    ("sampling.guidance", "two_scale"): "text and picture guided apart, by a scale each",
    ("sampling.prompt", "none"): "sampled without a prompt",
    ("sampling.prompt", "caption"): "sampled with the prompt",
    ("system.size", "asked"): "made at the size of the real clips",
    ("system.size", "own"): "made at the system’s own size, the picture fitted into it",
    ("system.time", "as_made"): "frames taken as they come",
    ("system.time", "resampled"): "made at the system’s own pace, frames taken at the moments of the real clip",
    ("task", "animate"): "shown the first frame alone",
    ("task", "interpolate"): "shown the first and the last frame of the real clip",
    ("task", "loop"): "shown the first frame as the last one too: the clip ends as it begins",
    ("weights", "dynamicrafter"): "the released model out of its checkpoint file; nothing of it is trained here",
}
SAMPLED = {  # key of a spec -> what its number (or name) does
    "system": "another system, {}: its own pipeline or its videos; nothing of it is trained here",
    "system.steps": "{} denoising steps",
    "sampling.text_scale": "text guided by {}",
    "sampling.image_scale": "picture guided by {}",
    "sampling.lambda_ends": "λ times {} in the two-end layers, after training",
    "sampling.lambda_middle": "λ times {} in the intermediate layers, after training",
}
BASELINES = {
    "real": "other real clips, as near to the real ones as anything can be",
    "reconstruction": "the real clips through the autoencoder: what a perfect generator in its space would reach",
    "static": "the input picture repeated, no motion at all",
    "another": "other real clips in the place of the right ones: real, but deaf to the input",
    "text_to_video": "the text-to-video model that training starts from: it sees the prompt and no picture",
}
METRICS = {
    "fvd": "Fréchet video distance between the generated and the real clips, as two Gaussians of video features. "
    "0 is equal; it falls with the number of videos, so only equal numbers are compared. Lower is better.",
    "kvd": "Kernel video distance: the squared distance between the same two sets of features under a cubic kernel. "
    "The estimate is unbiased and may be below 0. Lower is better.",
    "pic": "Perceptual input conformity: one minus the perceptual distance of each frame to the input picture, mean "
    "over frames and videos. A still picture scores highest, so it is read beside FVD. Higher is better.",
    "motion": "Speed of what moves, flicker aside, in per cent of the picture’s diagonal per frame. Neither direction "
    "is better: compare with the real clips.",
    "consistency": "Mean cosine of the embeddings of neighbouring frames. A frozen video reaches 1, so it means "
    "something only beside motion.",
    "alignment": "100 times the mean cosine of frame and prompt embeddings: whether the video shows what was asked.",
    "motion_as_asked": "Share of videos in which the tiny world’s classifier sees the motion that the prompt asks for; "
    "read it beside the static repeat, whose start gives some directions away. Tiny world only: nobody knows the true "
    "motion of real videos. Higher is better.",
    "end_conformity": "One minus the perceptual distance of a clip’s last frame to the picture that it should end at, "
    "the last frame of the real clip. Higher is better; a model that sees only the first frame is the baseline.",
    "loop_closure": "Perceptual distance of a clip’s last frame to its first. A loop closes without a seam when this "
    "is no larger than its step distance. Lower is better; a clip that stands still closes too.",
    "step_distance": "Perceptual distance of neighbouring frames, mean over a clip: what a viewer sees from frame to "
    "frame anyway. Neither direction is better.",
}
VERDICTS = (
    "A verdict rests on p, corrected (Holm) for all sentences of its question: with p at most 0.05 the sentence "
    "holds or fails, by the side that the effect is on; otherwise, and always with fewer than three training seeds, "
    "it is undecided. Undecided is no support for “no difference”. Not tested: a variant that the sentence names gave "
    "no numbers in this run."
)


@dataclass(frozen=True)
class Compared:
    """A row of what was compared: the name in the tables, where it is from, what it is."""

    label: str
    where: str  # questions, or 'baseline'
    words: str
    keys: str  # as the spec has it: 'model.context: none'; '' for none


def compared(run: Run) -> list[Compared]:
    """Every variant and baseline of the run, in the order of the records, each once."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for record in run.records:
        keys, said = _said(run, record.question, record.variant, record.role)
        places = found.setdefault((record.label, said, keys), [])
        place = record.question if record.role == "variant" else "baseline"
        if place not in places:
            places.append(place)
    rows = [Compared(label, ", ".join(places), said, keys) for (label, said, keys), places in found.items()]
    return sorted(rows, key=lambda row: row.where == "baseline")


def _said(run: Run, question: str, variant: str, role: str) -> tuple[str, str]:
    """(keys of the spec, words) of one variant or baseline."""
    if role == "baseline":
        return "", BASELINES.get(variant, "made from real clips, without a model")
    questions = mapping(run.spec.get("questions"))
    about = mapping(mapping(mapping(questions.get(question)).get("variants")).get(variant))
    if "overrides" not in about:
        return "", OUTSIDE if question == "score" else UNSAID
    overrides = mapping(about.get("overrides"))
    keys = ", ".join(f"{key}: {_plain(value)}" for key, value in overrides.items())
    return keys, differs(overrides)


def differs(overrides: Mapping[str, object]) -> str:
    """What a variant has instead of the full model's part; keys without words stand as they are."""
    parts = [
        SWITCHES.get((key, _plain(value)), SAMPLED.get(key, f"{key} is {{}}").format(_plain(value)))
        for key, value in overrides.items()
    ]
    return "; ".join(parts) or FULL_MODEL


def _plain(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def metrics(run: Run) -> list[tuple[str, str]]:
    """(name, what it is) of the run's metrics that have words."""
    present = {record.metric for record in run.records}
    return [(metric_name(name), said) for name, said in METRICS.items() if name in present]


def setting(run: Run) -> str:
    """How the numbers were made, in one sentence: clip, videos, seeds, features."""
    clip = mapping(mapping(run.spec.get("profile")).get("clip"))
    frames, height, width = (number(clip.get(key)) for key in ("frames", "height", "width"))
    size = f" of {frames:g} frames" if frames else ""
    size += f" at {width:g} × {height:g} pixels" if height and width else ""
    datasets = listed([dataset_name(name) for name in dict.fromkeys(r.dataset for r in run.records)])
    networks = listed(list(dict.fromkeys(r.features for r in run.records)))
    if not networks:
        return ""
    profile = text(run.environment.get("profile"))
    named = f" Profile: {profile}." if profile else ""
    return f"Clips{size} on {datasets}, measured with {networks} under protocol {run.protocol}.{named}"
