"""How is CogVideoX asked to animate a picture?

One latent frame stands for 4 frames, the first for 1, and the autoencoder decodes latent frames in pairs: of an even
number of them it gives a frame fewer than 4k+1. So 8k+1 frames are asked for; the 1.5 models, whose patches span two
latent frames, want 16k+1. Checkpoints with learned positions (CogVideoX-5b-I2V) make one size only. The rate is not
told to the network.
Source: CogVideoX, arXiv:2408.06072; its authors' table of frames and sizes; `CogVideoXImageToVideoPipeline` of
diffusers and its defaults.
"""

from collections.abc import Mapping
from dataclasses import replace

from models.external.adapter import Adapter, Json
from models.external.rules import Rules

SITE = 8  # pixels of one latent site


def of_folder(rules: Rules, configs: Mapping[str, Json]) -> Rules:
    """Length, rate and size of one checkpoint: of the 1.5 models, and where positions are learned."""
    config = configs.get("transformer", {})
    if config.get("patch_size_t") is not None:
        rules = replace(rules, own_size=(768, 1360), own_fps=16, frame_step=16)
    height, width = config.get("sample_height"), config.get("sample_width")
    if not config.get("use_learned_positional_embeddings") or not (isinstance(height, int) and isinstance(width, int)):
        return rules
    return replace(rules, own_size=(SITE * height, SITE * width), fixed_size=True)


ADAPTER = Adapter(
    name="cogvideox",
    label="CogVideoX",
    pipeline="CogVideoXImageToVideoPipeline",
    rules=Rules(own_size=(480, 720), own_fps=8, frame_step=8, size_step=16),
    steps=50,
    tokens=226,
    words={"guidance_scale": 6.0},
    of_folder=of_folder,
)
