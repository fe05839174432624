"""The CLIP towers: vocabulary, preprocessing, which layers are taken, and one state for both encoders."""

import math

import pytest
import torch

from models.config import ClipConfig
from models.encoders import ClipPair, ImageEncoder, TextEncoder, fold_tokens
from models.image_preprocess import CLIP_MEAN, CLIP_STD, ClipPreprocess, blur_of, resize_square

TINY = ClipConfig(
    embed_dim=16,
    image_size=32,
    patch_size=8,
    vision_layers=2,
    vision_width=32,
    vision_head_width=16,
    text_length=12,
    vocab_size=300,
    text_width=24,
    text_heads=2,
    text_layers=3,
)


@pytest.fixture(scope="module")
def pair() -> ClipPair:
    torch.manual_seed(0)
    return ClipPair(TINY).eval()


def encoders(pair: ClipPair) -> tuple[TextEncoder, ImageEncoder]:
    text, image = TextEncoder(TINY).eval(), ImageEncoder(TINY).eval()
    text.load_state_dict(text.weights_from(pair.state_dict()))
    image.load_state_dict(image.weights_from(pair.state_dict()))
    return text, image


def test_tokens_begin_with_bos_end_with_eot_and_are_padded_with_zeros():
    tokens = TextEncoder(TINY).tokenize(["", "a red circle"])
    assert tokens.shape == (2, 12) and tokens.dtype == torch.int64
    assert tokens[0].tolist() == [298, 299] + [0] * 10
    assert tokens[1, 0] == 298 and tokens[1, 4] == 299 and tokens[1, 5:].eq(0).all()
    assert tokens.max() < 300


def test_a_long_text_keeps_its_end_token():
    tokens = TextEncoder(TINY).tokenize(["circle " * 50])
    assert tokens[0, -1] == 299


def test_folding_by_hand():
    ids = torch.tensor([0, 1, 297, 298, 49405, 49406, 49407])
    assert fold_tokens(ids, 300).tolist() == [0, 1, 297, 1, 1 + 49404 % 297, 298, 299]
    assert fold_tokens(ids, 49408).equal(ids)
    with pytest.raises(ValueError, match=r"vocab_size is 3; allowed: 4 to 49408"):
        fold_tokens(ids, 3)


def test_sizes_are_those_of_the_published_towers():
    config = ClipConfig()
    with torch.device("meta"):
        text, image = TextEncoder(config), ImageEncoder(config)
    block = 12 * 1024**2 + 13 * 1024
    unused = block + 1024**2 + 1  # the last block, the projection, the logit scale
    assert sum(p.numel() for p in text.parameters()) == 354_032_641 - unused
    beside = 49408 * 1024 + 77 * 1024 + 2 * 1024 + 1024**2 + 1  # parts of a text tower, without its blocks
    head = 2 * 1280 + 1280 * 1024  # ln_post and the projection
    assert sum(p.numel() for p in image.parameters()) == 683_800_065 - beside - head


@torch.no_grad()
def test_the_text_tokens_are_those_of_the_penultimate_layer(pair):
    text, _ = encoders(pair)
    tokens = text.tokenize(["a red circle moves left"])
    model = pair.model
    x = model.token_embedding(tokens) + model.positional_embedding
    for block in model.transformer.resblocks[:-1]:
        x = block(x, attn_mask=model.attn_mask)
    torch.testing.assert_close(text(tokens), model.ln_final(x))


@torch.no_grad()
def test_text_is_causal(pair):
    text, _ = encoders(pair)
    tokens = text.tokenize(["a red circle moves left"])
    changed = tokens.clone()
    changed[0, 4] += 1
    before, after = text(tokens), text(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4] - after[:, 4]).abs().max() > 1e-4


@torch.no_grad()
def test_image_tokens_lead_to_the_joint_embedding_with_the_class_token_first(pair):
    _, image = encoders(pair)
    picture = torch.rand(2, 3, 20, 48) * 2 - 1
    tokens = image(picture)
    assert tokens.shape == (2, TINY.image_tokens, 32) and TINY.image_tokens == 17
    joint = pair.model.visual.ln_post(tokens[:, 0]) @ pair.model.visual.proj
    torch.testing.assert_close(torch.nn.functional.normalize(joint, dim=-1), pair.image_embedding(picture))


@torch.no_grad()
def test_contrastive_logits_are_scaled_cosines(pair):
    picture, tokens = torch.rand(2, 3, 32, 32), pair.tokenize(["a", "b", "c"])
    logits = pair(picture, tokens)
    assert logits.shape == (2, 3)
    cosine = pair.image_embedding(picture)[1] @ pair.text_embedding(tokens)[2]
    torch.testing.assert_close(logits[1, 2], cosine / 0.07)
    assert pair.text_embedding(tokens).norm(dim=-1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_a_state_that_does_not_fit_is_refused_by_name(pair):
    state = pair.state_dict()
    text = TextEncoder(TINY)
    with pytest.raises(ValueError, match=r"missing \['model.ln_final.weight'\]"):
        text.weights_from({k: v for k, v in state.items() if k != "model.ln_final.weight"})
    with pytest.raises(ValueError, match=r"not understood \['model.surprise'\]"):
        text.weights_from({**state, "model.surprise": torch.zeros(1)})


def test_one_text_layer_is_refused():
    with pytest.raises(ValueError, match="text_layers is 1; allowed: 2 or more"):
        TextEncoder(ClipConfig(**{**vars(TINY), "text_layers": 1}))


def test_preprocessing_normalises_a_flat_picture_in_closed_form():
    seen = ClipPreprocess(32)(torch.full((1, 3, 50, 70), 0.5))
    expected = torch.tensor([(0.75 - m) / s for m, s in zip(CLIP_MEAN, CLIP_STD, strict=True)])
    torch.testing.assert_close(seen, expected.view(1, 3, 1, 1).expand(1, 3, 32, 32), rtol=1e-5, atol=1e-5)


def test_enlarging_aligns_the_corners_and_does_not_blur():
    ramp = torch.linspace(-1, 1, 8).view(1, 1, 1, 8).expand(1, 3, 8, 8)
    seen = resize_square(ramp, 15)
    assert seen[0, 0, 7, ::2].tolist() == pytest.approx(torch.linspace(-1, 1, 8).tolist(), abs=1e-6)


def test_shrinking_blurs_away_what_the_small_picture_cannot_hold():
    stripes = torch.tensor([1.0, -1.0]).repeat(64).view(1, 1, 1, 128).expand(1, 3, 128, 128)
    assert resize_square(stripes, 32).abs().mean() < 0.01  # sampling without a blur keeps about 0.6
    assert (
        torch.nn.functional.interpolate(stripes, size=(32, 32), mode="bicubic", align_corners=True).abs().mean() > 0.3
    )


def test_the_blur_kernel_by_hand():
    kernel = blur_of(3.0)  # sigma 1, int(max(4, 3)) = 4 taps made odd
    weights = [math.exp(-(k**2) / 2) for k in range(-2, 3)]
    assert kernel.tolist() == pytest.approx([w / sum(weights) for w in weights], abs=1e-7)
    assert blur_of(0.8).tolist() == [0.0, 1.0, 0.0]
