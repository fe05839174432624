"""The pipeline on a small model: what is computed once, what a clip depends on, and what comes out."""

from dataclasses import replace

import pytest
import torch

from models import presets
from models.autoencoder import Autoencoder
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.pipeline import Pipeline, clips_at_once, padded_groups, to_uint8
from models.schedule import Schedule

PROMPTS = ["a red circle moves left", "a blue square", ""]
FAST = SamplerConfig(steps=3, spacing="uniform_trailing", eta=1.0, guidance="two_scale", image_scale=2.0)


def build(sampler: SamplerConfig = FAST, **changes: str) -> Pipeline:
    torch.manual_seed(0)
    config: ModelConfig = replace(presets.tiny(), **changes)  # type: ignore[arg-type]
    model = DynamiCrafter(config)
    for parameter in model.parameters():  # zero-initialised layers would hide the conditions
        torch.nn.init.normal_(parameter, std=0.05)
    parts = Autoencoder(config.autoencoder), TextEncoder(config.clip), ImageEncoder(config.clip)
    return Pipeline(model, *parts, Schedule(config.diffusion), sampler)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return build()


def draws(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1
    x_T, *noises = torch.randn(4, 3, 4, 8, 8, 8, generator=generator)
    return images[:rows], x_T[:rows], [n[:rows] for n in noises]


FS = torch.tensor([3, 3, 1])


def test_clips_are_bytes_in_the_layout_of_a_clip(pipeline):
    images, x_T, noises = draws()
    clips = pipeline(images, PROMPTS, FS, x_T, noises.__getitem__)
    assert clips.shape == (3, 8, 32, 32, 3) and clips.dtype == torch.uint8
    assert clips.float().std() > 1
    assert clips.equal(pipeline(images, PROMPTS, FS, x_T, noises.__getitem__))


def test_fractions_of_a_level_are_cut_off_and_the_range_is_clamped():
    video = torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 2.0]).view(1, 1, 6, 1, 1).expand(1, 3, 6, 1, 1)
    assert to_uint8(video)[0, :, 0, 0, 1].tolist() == [0, 0, 127, 254, 255, 255]


def test_a_clip_does_not_depend_on_its_neighbours(pipeline):
    images, x_T, noises = draws()
    together = pipeline.conditions(images, PROMPTS)
    one = pipeline.conditions(images[1:2], PROMPTS[1:2])
    for name in ("latent", "text", "image_tokens"):
        assert getattr(together, name)[1:2].equal(getattr(one, name)), name
    whole = pipeline.sample_latents(together, FS, x_T, noises.__getitem__)
    alone = pipeline.sample_latents(one, FS[1:2], x_T[1:2], lambda k: noises[k][1:2])
    assert whole[1:2].equal(alone)
    assert pipeline.decode(whole)[1:2].equal(pipeline.decode(whole[1:2]))


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0, 2, 1, 0, 1], [1] * 9])
def test_no_byte_of_a_clip_depends_on_its_batch(pipeline, order):
    """Any number of clips, any place among them, in the first group of the network or a later one."""
    images, x_T, noises = draws()

    def sample(rows: list[int]) -> torch.Tensor:
        conditions = pipeline.conditions(images[rows], [PROMPTS[i] for i in rows])
        return pipeline.sample_latents(conditions, FS[rows], x_T[rows], lambda k: noises[k][rows])

    alone = {row: sample([row])[0] for row in set(order)}
    together = sample(order)
    assert all(clip.equal(alone[row]) for row, clip in zip(order, together, strict=True))


def test_groups_cover_every_clip_once_and_follow_from_the_size_alone():
    assert [clips_at_once(16, h, w) for h, w in ((32, 32), (40, 64), (72, 128))] == [1, 1, 1]
    assert clips_at_once(8, 8, 8) == 4
    groups = [(rows.tolist(), valid) for rows, valid in padded_groups(6, 4)]
    assert groups == [([0, 1, 2, 3], 4), ([4, 5, 4, 4], 2)]


def test_contexts_are_projected_once_and_all_branches_are_one_batch(pipeline, monkeypatch):
    unet, projected, batches = pipeline.model.unet, [], []
    project, denoise = unet.project_context, unet.denoise
    monkeypatch.setattr(unet, "project_context", lambda c, f: projected.append(f) or project(c, f))
    monkeypatch.setattr(unet, "denoise", lambda x, t, p, fs: batches.append(len(x)) or denoise(x, t, p, fs))
    images, x_T, noises = draws(2)
    pipeline.sample_latents(pipeline.conditions(images, PROMPTS[:2]), FS[:2], x_T, noises.__getitem__)
    assert batches == [12, 12, 12]  # 3 branches of a group of 4 (2 clips, padded), 3 steps
    assert projected == [8] * 5  # 2 conditions, 2 images without text, one empty context for both; not per step


@pytest.mark.parametrize("guidance", ["none", "single", "two_scale"])
def test_the_batch_of_branches_gives_what_separate_evaluations_give(guidance):
    pipeline = build(replace(FAST, guidance=guidance, guidance_rescale=0.5))
    images, x_T, _ = draws(2)
    conditions = pipeline.conditions(images, PROMPTS[:2])
    model, t, answers = pipeline.model, torch.tensor([999, 999]), []
    with torch.no_grad():
        for branch in pipeline.guidance.branches:
            text = conditions.text if branch.text else conditions.null_text.expand(2, -1, -1)
            image = conditions.image_tokens if branch.image else conditions.null_image_tokens.expand(2, -1, -1)
            answers.append(model(x_T, t, model.context(text, image), conditions.latent, FS[:2]))
    asked = []
    one_step = pipeline.with_sampler(steps=1, eta=0.0)
    one_step.sample_latents(conditions, FS[:2], x_T, on_step=lambda k, x, x0: asked.append(x0))
    torch.testing.assert_close(asked[0], -pipeline.guidance(answers), rtol=1e-4, atol=1e-4)  # x0 = -v where a = 0


def test_every_condition_matters(pipeline):
    images, x_T, noises = draws(2)

    def sample(images=images, prompts=PROMPTS[:2], fs=FS[:2]):
        return pipeline.sample_latents(pipeline.conditions(images, prompts), fs, x_T, noises.__getitem__)

    base = sample()
    for changed in (sample(images=-images), sample(prompts=PROMPTS[1:]), sample(fs=torch.tensor([6, 6]))):
        assert (base - changed).abs().max() > 1e-4


def test_nulls_are_the_empty_prompt_and_the_tokens_of_a_grey_picture(pipeline):
    images, _, _ = draws(1)
    conditions = pipeline.conditions(images, [""])
    assert conditions.null_text.equal(conditions.text)
    grey = pipeline.conditions(torch.zeros_like(images), [""])
    assert conditions.null_image_tokens.equal(grey.image_tokens)


def test_noise_of_the_condition_latent_is_the_callers(pipeline):
    images, _, _ = draws(2)
    noise = torch.ones(2, 4, 1, 8, 8)
    assert pipeline.condition_latent(images).shape == (2, 4, 1, 8, 8)
    expected = pipeline.autoencoder.encode(images.unsqueeze(2), noise)
    torch.testing.assert_close(pipeline.condition_latent(images, noise=noise), expected)


def test_loops_and_interpolation_are_given_both_ends():
    pipeline = build(replace(FAST, eta=0.0), visual_detail_guidance="first_and_last")
    images, x_T, _ = draws(2)
    both = pipeline.conditions(images, PROMPTS[:2], end_images=images.flip(0))
    assert both.latent.shape == (2, 4, 2, 8, 8)
    assert both.latent[0, :, 1].equal(both.latent[1, :, 0])
    loop = pipeline.loop(images, PROMPTS[:2], FS[:2], x_T)
    whole = pipeline(images, PROMPTS[:2], FS[:2], x_T, end_images=images)
    assert loop.shape[1] == 7 and loop.equal(whole[:, :-1])


def test_what_does_not_fit_is_refused(pipeline):
    images, x_T, noises = draws(2)
    conditions = pipeline.conditions(images, PROMPTS[:2])
    with pytest.raises(ValueError, match="1 prompts for 2 images"):
        pipeline.conditions(images, ["one"])
    with pytest.raises(ValueError, match="x_T has 1 rows for 2 conditions"):
        pipeline.sample_latents(conditions, FS[:2], x_T[:1], noises.__getitem__)
    with pytest.raises(ValueError, match=r"end images have shape \(1, 3, 32, 32\)"):
        pipeline.condition_latent(images, images[:1])
    with pytest.raises(ValueError, match="noise has 2 frames; allowed: 1"):
        pipeline.condition_latent(images, noise=torch.zeros(2, 4, 2, 8, 8))
    with pytest.raises(ValueError, match="spacing is 'linear'"):
        pipeline.with_sampler(spacing="linear")
    bare = Pipeline(pipeline.model, pipeline.autoencoder, None, None, pipeline.schedule, FAST)
    with pytest.raises(ValueError, match="needs a text and an image encoder"):
        bare.conditions(images, PROMPTS[:2])
