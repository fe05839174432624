"""How is Stable Video Diffusion asked for a clip?

The pipeline shows the image encoder the whole picture resized to 224x224, and tells the network one frame per second
less than it is given, as in training. Guidance rises from the first frame to the last, so one frame alone is none. The
network halves its latents without asking whether they are even: sizes come in steps of 64 pixels.
Source: Stable Video Diffusion, arXiv:2311.15127; `StableVideoDiffusionPipeline` of diffusers and its defaults.
"""

from collections.abc import Mapping
from dataclasses import replace

from models.external.adapter import Adapter, Json
from models.external.rules import Rules

SITE = 8  # pixels of one latent site


def of_folder(rules: Rules, configs: Mapping[str, Json]) -> Rules:
    """The size's step of a checkpoint: every level of its network but the last halves the latents."""
    levels = configs.get("unet", {}).get("block_out_channels")
    return replace(rules, size_step=SITE * 2 ** (len(levels) - 1)) if isinstance(levels, list) and levels else rules


ADAPTER = Adapter(
    name="svd",
    label="Stable Video Diffusion",
    pipeline="StableVideoDiffusionPipeline",
    rules=Rules(own_size=(576, 1024), own_fps=7, least=2, size_step=64, told_rate=True, prompt=False),
    steps=25,
    words={
        "motion_bucket_id": 127,
        "noise_aug_strength": 0.02,
        "min_guidance_scale": 1.0,
        "max_guidance_scale": 3.0,
    },
    rate="fps",
    of_folder=of_folder,
)
