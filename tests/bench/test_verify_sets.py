"""`verify` on sets of other configurations: each passes as it is, and not when a value in it is wrong."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench.verify import verify
from bench.verify_configs import (
    read_autoencoder_config,
    read_clip_config,
    read_diffusion,
    read_sampler,
    read_unet_config,
)
from bench.verify_diffusion import same_drops
from bench.verify_frozen import infer_diffusion
from bench.verify_unet import variant_of
from models.config import DiffusionConfig, UNetConfig
from models.schedule import Schedule, official_buffers
from tests.fixtures.golden_runs import write_set
from tests.fixtures.golden_sets import Json, Sizes

UNET: Json = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [1, 2],
    "num_res_blocks": 1,
    "channel_mult": [1, 2],
    "dropout": 0.1,
    "num_head_channels": 16,
    "transformer_depth": 1,
    "context_dim": 24,
    "use_linear": True,
    "use_checkpoint": False,
    "temporal_conv": True,
    "temporal_attention": True,
    "temporal_selfatt_only": True,
    "use_relative_position": False,
    "use_causal_attention": False,
    "temporal_length": 4,
    "addition_attention": True,
    "image_cross_attention": True,
    "image_cross_attention_scale_learnable": True,
    "default_fs": 3,
    "fs_condition": True,
}
RESAMPLER: Json = {
    "dim": 16,
    "depth": 1,
    "dim_head": 8,
    "heads": 2,
    "num_queries": 16,
    "embedding_dim": 20,
    "output_dim": 24,
    "ff_mult": 4,
    "video_length": 4,
}
VAE: Json = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}
CLIP: Json = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 32, "head_width": 16, "patch_size": 56},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3},
}


def run(size: str, **changes: object) -> Json:
    """A case of kind g or j by the size whose configuration it has."""
    eps = size == "256"
    return {
        "yaml": f"inference_{size}_v1.0.yaml",
        "learnable_alpha": eps,
        "spacing": "uniform" if eps else "uniform_trailing",
        "steps": 2,
        "eta": 0.0,
        "scale": 3.0,
        "multi": False,
        "cfg_img": None,
        "rescale": 0.0,
        "fs": 5,
        **changes,
    }


def loss(yaml: str, **changes: object) -> Json:
    """A case of kind h."""
    return {
        "yaml": yaml,
        "learnable_alpha": "256" in yaml,
        "uncond_prob": 0.1,
        "cond_frame_index": 1,
        "interp_mode": False,
        "fs_passed": [5, 9],
        "scale_factor": 0.18215,
        **changes,
    }


SETS = {
    # More queries than frames ask for (a projector for another length: shown to all frames), two blocks deep, three
    # channels in a latent, few attended levels, two clips.
    "another_length": Sizes(
        seed=11,
        batch=2,
        frames=3,
        latent=(4, 6),
        text=77,
        unet=UNET
        | {"in_channels": 6, "out_channels": 3, "channel_mult": [1, 3], "attention_resolutions": [2]}
        | {"num_head_channels": 8, "transformer_depth": 2, "default_fs": 7, "temporal_length": 16},
        resampler=RESAMPLER | {"video_length": 5, "depth": 3, "heads": 3, "ff_mult": 2},
        vae=VAE | {"z_channels": 3, "ch_mult": [1, 1, 2]},
        clip=CLIP,
        variants=("ica_learn_fs", "noica_nofs", "ica_fixed_fsdefault", "ica_learn_fs_ctx93"),
        runs={
            "plain": run("256", scale=1.0, steps=4, rescale=0.7),
            "two": run("256", multi=True, cfg_img=1.5, eta=1.0, rescale=0.3, kept=("samples",)),
            "v": run("1024", overrides={"base_scale": 0.5}, eta=0.5, only_times=True, steps=4),
        },
        losses={
            "eps": loss("inference_256_v1.0.yaml", cond_frame_index=2, kept=("loss", "grad_norms")),
            "often": loss("training_512_v1.0/config.yaml", uncond_prob=0.4),
        },
        clips={"one": run("512", steps=3, eta=1.0, rescale=0.7), "two": run("256", multi=True, loop=True)},
        prompts=("", "two words", "a third", "a fourth"),
    ),
    # A token set for each frame, one residual block more, no first transformer, lambda fixed in the base, one clip.
    "per_frame": Sizes(
        seed=12,
        batch=1,
        frames=5,
        latent=(8, 8),
        text=77,
        unet=UNET
        | {"channel_mult": [1, 1, 2], "attention_resolutions": [1, 4], "num_res_blocks": 2, "num_head_channels": 32}
        | {"addition_attention": False, "image_cross_attention_scale_learnable": False, "context_dim": 40},
        resampler=RESAMPLER | {"video_length": 5, "output_dim": 40, "dim": 24, "dim_head": 4},
        vae=VAE | {"num_res_blocks": 2},
        clip=CLIP | {"vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16}},
        variants=("ica_fixed_fs", "ica_learn_fs_notconv", "noica_fs_textonly"),
        runs={
            "no_rescale": run("512", overrides={"use_dynamic_rescale": False}, eta=1.0, steps=3),
            "v256": run("256", overrides={"parameterization": "v"}, multi=True),
        },
        losses={
            "interp": loss("training_512_v1.0/config_interp.yaml", interp_mode=True, cond_frame_index=0, fs_passed=[4])
        }
        | {"v1024": loss("training_1024_v1.0/config.yaml", fs_passed=[12], kept=("model_out", "loss"))},
        clips={"interp": run("512", interp=True, fs=11)},
        pictures=((30, 64), (90, 50), (70, 70)),
    ),
    # Everything that the official code hard-codes is otherwise: 16 tokens of a prompt, 4 per frame; heads that do not
    # fill a level, no rate, one level, a frame alone.
    "short_prompts": Sizes(
        seed=13,
        batch=2,
        frames=1,
        latent=(2, 4),
        text=16,
        unet=UNET
        | {"channel_mult": [1], "attention_resolutions": [1], "num_head_channels": 12, "fs_condition": False}
        | {"temporal_conv": False, "model_channels": 64, "num_res_blocks": 1},
        resampler=RESAMPLER | {"num_queries": 4, "video_length": None},
        vae=VAE | {"ch_mult": [1], "ch": 64},
        clip=CLIP | {"text_cfg": CLIP["text_cfg"] | {"width": 24, "heads": 3, "layers": 2}, "embed_dim": 20},
        variants=("ica_learn_nofs", "ica_fixed_nofs_ctx77", "ica_learn_fs"),
        runs={"odd": run("512", steps=7, eta=1.0)},
        losses={"eps": loss("inference_256_v1.0.yaml", uncond_prob=0.0, cond_frame_index=0)},
        clips={"one": run("256", scale=1.0, steps=6)},
    ),
}


def lines_of(folder: Path) -> tuple[int, int, list[str]]:
    lines: list[str] = []
    passed, failed = verify(folder, lines.append)
    return passed, failed, lines


SLOW = {"another_length": pytest.mark.slow, "per_frame": pytest.mark.slow}  # the costlier sets


@pytest.fixture(scope="module", params=[pytest.param(name, marks=SLOW.get(name, ())) for name in SETS])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    write_set(folder, SETS[request.param])
    return folder


def test_a_set_of_another_configuration_passes_as_it_is(written):
    passed, failed, lines = lines_of(written)
    assert failed == 0, [line for line in lines if line.startswith("FAIL")]
    checked = [line.split() for line in lines if line.startswith("ok")]
    assert {words[1] for words in checked} == set("abcdeghij")
    left = [line for line in lines if not line.startswith("ok")]
    assert all("not_kept" in line or "absent" in line for line in left), left
    assert passed > 35


SPOILED = {  # the kind of a file: a result of it
    "0": "out_ctx80",
    "1": "inter.middle_block",
    "2": "odd.out",
    "3": "odd.dec",
    "5": ".samples",
    "6": "odd.image",
    "7": ".latent",
    "loss": "grad_norms",
}


@pytest.mark.slow
def test_one_wrong_value_in_each_file_fails_there_and_nowhere_else(written, tmp_path):
    wanted = set()
    for path in written.iterdir():
        tensors = load_file(path)
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata()
        ending = SPOILED.get(path.stem, "stride4")
        key = next(key for key in sorted(tensors) if key.endswith(ending))
        tensors[key].view(-1)[-1] += 0.05 * float(tensors[key].norm())
        save_file(tensors, tmp_path / path.name, metadata)
        wanted.add((path.name, key.removesuffix(".out")))
    _, failed, lines = lines_of(tmp_path)
    found = {tuple(line.split()[2:4]) for line in lines if line.startswith("FAIL")}
    assert failed == len(found) == len(wanted)
    assert {(name, key.rstrip(":")) for name, key in found} == wanted


@pytest.mark.parametrize(
    "config",
    [
        DiffusionConfig(),
        DiffusionConfig(steps=500, beta_start=0.0012, beta_end=0.0234),
        DiffusionConfig(
            prediction="v", zero_terminal_snr=True, beta_start=0.001, beta_end=0.0155, dynamic_rescale=0.45
        ),
        DiffusionConfig(prediction="v", dynamic_rescale=0.3),
    ],
)
def test_a_schedule_is_known_by_its_tables_whatever_the_file_is_called(config, tmp_path):
    schedule = Schedule(config)
    tensors = official_buffers(schedule)
    found, wanted = infer_diffusion(tensors), config
    assert (found.steps, found.prediction, found.dynamic_rescale) == (
        wanted.steps,
        wanted.prediction,
        wanted.dynamic_rescale,
    )
    assert (found.beta_start, found.beta_end) == pytest.approx((wanted.beta_start, wanted.beta_end), rel=1e-6)
    for spacing, eta in (("uniform", 0.0), ("uniform_trailing", 0.3), ("quad", 1.0)):
        table = schedule.ddim(f"official_{spacing}", 13, eta)
        tensors[f"ddim.{spacing}.13.sigmas_eta{eta}"] = torch.from_numpy(table.sigmas)
        tensors[f"ddim.{spacing}.13.timesteps"] = torch.from_numpy(table.timesteps)
    save_file(tensors, tmp_path / "schedule_512.safetensors")
    passed, failed, lines = lines_of(tmp_path)
    assert (passed, failed) == (len(tensors), 0), lines
    tensors["posterior_mean_coef1"][7] *= 1.1
    save_file(tensors, tmp_path / "schedule_512.safetensors")
    assert lines_of(tmp_path)[:2] == (len(tensors) - 1, 1)


def test_what_our_networks_cannot_be_is_refused_by_its_word():
    with pytest.raises(ValueError, match="a U-Net of this project is never with use_relative_position True"):
        read_unet_config(UNET | {"use_relative_position": True})
    with pytest.raises(ValueError, match="resblock_updown True, tempspatial_aware True"):
        read_unet_config(UNET | {"resblock_updown": True, "tempspatial_aware": True})
    with pytest.raises(ValueError, match=r"attn_resolutions \[32\]"):
        read_autoencoder_config(VAE | {"attn_resolutions": [32]})
    with pytest.raises(ValueError, match="quick_gelu True"):
        read_clip_config(CLIP | {"quick_gelu": True})
    with pytest.raises(ValueError, match="turning_step 300"):
        read_diffusion({"yaml": "inference_512_v1.0.yaml", "overrides": {"turning_step": 300}})
    with pytest.raises(ValueError, match="heads of one width"):
        read_unet_config({key: value for key, value in UNET.items() if key != "num_head_channels"} | {"num_heads": 8})


def test_words_that_are_left_out_are_the_official_defaults():
    config = read_unet_config({key: UNET[key] for key in [*list(UNET)[:5], "num_head_channels", "context_dim"]})
    assert (config.channel_mult, config.default_fps, config.image_stream) == ((1, 2, 4, 8), 4, "none")
    assert not config.temporal_conv and config.temporal_attention and not config.init_attention
    sampler = read_sampler(Schedule(DiffusionConfig()), {"steps": 10})
    assert (sampler.guidance, sampler.spacing, sampler.eta, sampler.guidance_rescale) == (
        "none",
        "official_uniform",
        0,
        0,
    )


def test_a_variant_is_known_by_the_words_of_its_name():
    base = UNetConfig(image_stream="fixed", fps_condition=False)
    found = variant_of("ica_learn_fsdefault_ctx93_noinit", base)
    assert found is not None
    assert (found.config.image_stream, found.config.fps_condition, found.config.init_attention) == (
        "learned",
        True,
        False,
    )
    assert (found.length, found.fs) == (93, None)
    assert variant_of("", base).config == base
    assert variant_of("ica_upside_down", base) is None


def test_large_probabilities_drop_what_the_official_ranges_drop():
    draw = torch.linspace(0, 0.999, 50)
    for p in (0.05, 0.2, 1 / 3, 0.4, 0.5, 0.9):
        ours, q = same_drops(draw, p)
        assert torch.equal(draw < 2 * p, ours < 2 * q)
        assert torch.equal((draw >= p) & (draw < 3 * p), (ours >= q) & (ours < 3 * q))
        assert q <= 1 / 3
