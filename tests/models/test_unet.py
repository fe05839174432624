"""The U-Net against the official code's numbers, and against properties that its design promises."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.verify_unet import check_unet, filled_unet
from models import attention
from models.attention import Projected, SelfAttention, attend
from models.blocks import GroupNorm
from models.config import UNetConfig
from models.embeddings import RateEmbedding, sinusoid
from models.unet import VideoUNet

B, T, SIDE, QUERIES = 2, 4, 4, 3
SMALL = UNetConfig(
    model_channels=16,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(1, 2),
    num_head_channels=8,
    init_attention_heads=2,
    context_dim=12,
    dropout=0.0,
    norm_groups=4,
)


def unet(**changes: object) -> VideoUNet:
    """A small U-Net with the golden files' weight rule: no layer is zero."""
    net = filled_unet(replace(SMALL, **changes))
    net.tokens_per_frame = QUERIES
    return net


def inputs(channels: int = 8, frames: int = T, image_tokens: int = T * QUERIES) -> tuple:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(B, channels, frames, SIDE, SIDE, generator=g)
    context = {
        "text": torch.randn(B, 5, 12, generator=g),
        "image": torch.randn(B, image_tokens, 12, generator=g),
    }
    return x, torch.tensor([17, 901]), context, torch.tensor([2, 6])


def close(a: Tensor, b: Tensor, tolerance: float = 2e-5) -> None:
    assert float((a - b).norm() / b.norm()) < tolerance


def differ(a: Tensor, b: Tensor) -> None:
    assert float((a - b).norm() / b.norm()) > 1e-3


def test_small_unet_equals_the_official_code_in_every_variant_and_stage(golden):
    cases = list(check_unet(golden / "dynamicrafter" / "b_unet_small.safetensors"))
    assert len(cases) == 9 + 17 - 2 + 1
    assert [case for case in cases if not case.ok] == []


@pytest.mark.slow
def test_full_size_unet_equals_the_official_code(golden):
    cases = list(check_unet(golden / "dynamicrafter" / "a_unet256_full_8x8.safetensors"))
    assert len(cases) == 8 + 28
    assert [case for case in cases if not case.ok] == []


@torch.no_grad()
def test_a_new_unet_predicts_zero_and_its_temporal_layers_change_nothing():
    torch.manual_seed(0)
    new = VideoUNet(SMALL, QUERIES)
    x, t, context, fs = inputs()
    assert new(x, t, context, fs).abs().max() == 0
    torch.nn.init.normal_(new.conv_out.weight)
    still = VideoUNet(replace(SMALL, temporal_conv=False, temporal_attention=False, init_attention=False), QUERIES)
    still.load_state_dict({k: v for k, v in new.state_dict().items() if k in still.state_dict()})
    close(new(x, t, context, fs), still(x, t, context, fs))


@torch.no_grad()
def test_without_temporal_layers_a_frame_sees_only_its_own_image_tokens():
    net = unet(temporal_conv=False, temporal_attention=False, init_attention=False)
    x, t, context, fs = inputs()
    before = net(x, t, context, fs)
    changed = context["image"].clone()
    changed[:, QUERIES : 2 * QUERIES] += 1  # the tokens of frame 1
    after = net(x, t, {**context, "image": changed}, fs)
    assert torch.equal(before[:, :, [0, 2, 3]], after[:, :, [0, 2, 3]])
    differ(before[:, :, 1], after[:, :, 1])


@torch.no_grad()
def test_temporal_layers_carry_a_change_to_every_frame():
    net = unet()
    x, t, context, fs = inputs()
    changed = x.clone()
    changed[:, :, 0] += 1
    before, after = net(x, t, context, fs), net(changed, t, context, fs)
    assert ((before - after).abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()


@torch.no_grad()
def test_an_image_context_of_another_length_is_shared_by_all_frames():
    net = unet()
    x, t, context, fs = inputs()
    shared = context["image"][:, :QUERIES]
    repeated = shared.repeat(1, T, 1)
    close(net(x, t, {**context, "image": shared}, fs), net(x, t, {**context, "image": repeated}, fs))
    longer = torch.cat([context["image"], shared], dim=1)
    differ(net(x, t, {**context, "image": longer}, fs), net(x, t, context, fs))


@torch.no_grad()
def test_a_context_projected_once_serves_every_step_and_every_branch():
    net = unet()
    x, t, context, fs = inputs()
    other = {name: tokens.flip(1) for name, tokens in context.items()}
    first, second = net.project_context(context, T), net.project_context(other, T)
    assert torch.equal(net.denoise(x, t, first, fs), net(x, t, context, fs))
    both = Projected.concatenate([first, second])
    together = net.denoise(torch.cat([x, x]), torch.cat([t, t]), both, torch.cat([fs, fs]))
    close(together, torch.cat([net(x, t, context, fs), net(x, t, other, fs)]))
    null = net.project_context({name: tokens[:1] for name, tokens in context.items()}, T)
    same = {name: tokens[:1].expand(B, -1, -1) for name, tokens in context.items()}
    close(net.denoise(x, t, null.expand(B), fs), net(x, t, same, fs))


@torch.no_grad()
def test_lambda_weighs_the_image_stream():
    learned, fixed, none = unet(), unet(image_stream="fixed"), unet(image_stream="none")
    x, t, context, fs = inputs()
    text = {"text": context["text"]}
    differ(learned(x, t, context, fs), fixed(x, t, context, fs))
    for name, parameter in learned.named_parameters():
        if name.endswith("alpha"):
            parameter.zero_()
    close(learned(x, t, context, fs), fixed(x, t, context, fs))
    for name, parameter in learned.named_parameters():
        if name.endswith("alpha"):
            parameter.fill_(-20.0)  # tanh(-20) + 1 = 0
    close(learned(x, t, context, fs), none(x, t, text, fs))
    assert list(fixed.image_scales().values()) == [1.0] * 7
    assert list(learned.image_scales().values()) == [0.0] * 7
    assert none.image_scales() == {}


def test_image_scales_are_in_the_order_in_which_layers_run():
    net = unet()
    seen: list[str] = []
    for name, layer in net.cross_attentions().items():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    x, t, context, fs = inputs()
    with torch.no_grad():
        net(x, t, context, fs)
    assert list(net.image_scales()) == seen


@torch.no_grad()
def test_no_rate_means_the_default_rate():
    net = unet(default_fps=5)
    x, t, context, fs = inputs()
    assert torch.equal(net(x, t, context), net(x, t, context, torch.full((B,), 5)))
    differ(net(x, t, context), net(x, t, context, fs))
    deaf = unet(fps_condition=False)
    assert torch.equal(deaf(x, t, context, fs), deaf(x, t, context))


def test_gradients_reach_every_parameter():
    net = unet()
    x, t, context, fs = inputs()
    net(x, t, context, fs).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize(
    "shape, message",
    [((B, 4, T, 4, 4), r"takes \(B, 8, T, h, w\)"), ((B, 8, T, 4, 5), "multiples of 2")],
)
def test_an_input_of_the_wrong_shape_is_named(shape, message):
    _, t, context, fs = inputs()
    with pytest.raises(ValueError, match=message):
        unet()(torch.zeros(shape), t, context, fs)


def test_streams_that_do_not_fit_are_named():
    _, _, context, _ = inputs()
    with pytest.raises(ValueError, match=r"has the streams \['text'\]; this model attends to"):
        unet().project_context({"text": context["text"]}, T)
    with pytest.raises(ValueError, match=r"has the streams \['image', 'text'\]; this model"):
        unet(image_stream="none").project_context(context, T)
    with pytest.raises(ValueError, match="image_stream is 'fixd'; known: none, fixed, learned"):
        VideoUNet(replace(SMALL, image_stream="fixd"))


@torch.no_grad()
def test_attention_over_columns_is_attention_in_each_column():
    torch.manual_seed(0)
    layer = SelfAttention(channels=6, head_channels=3)
    x = torch.randn(2, 5, 4, 6)
    for column in range(4):
        alone = x[:, :, column]
        q, k, v = (f(alone).unflatten(-1, (2, 3)) for f in (layer.to_q, layer.to_k, layer.to_v))
        weight = torch.softmax(torch.einsum("nlhd,nmhd->nhlm", q, k) / 3**0.5, dim=-1)
        by_hand = layer.to_out(torch.einsum("nhlm,nmhd->nlhd", weight, v).flatten(2))
        torch.testing.assert_close(layer(x)[:, :, column], by_hand, rtol=1e-5, atol=1e-6)


def test_many_heads_are_attended_to_in_groups(monkeypatch):
    q, k, v = torch.randn(3, 2, 7, 4, 8)
    whole = attend(q, k, v)
    monkeypatch.setattr(attention, "MOST_HEADS", 3)
    torch.testing.assert_close(attend(q, k, v), whole)


def test_group_norm_computes_in_float32():
    x = (100 + torch.randn(2, 8, 50)).bfloat16()
    norm = GroupNorm(2, 8)
    exact = torch.nn.functional.group_norm(x.double(), 2).bfloat16()
    assert torch.equal(norm.bfloat16()(x), exact)


def test_sinusoid_is_cosines_then_sines():
    row = sinusoid(torch.tensor([3]), 4)[0]  # frequencies 1 and 1/100
    angle = torch.tensor([3.0, 0.03])
    torch.testing.assert_close(row, torch.cat([angle.cos(), angle.sin()]))
    with pytest.raises(ValueError, match="width is 5"):
        sinusoid(torch.tensor([3]), 5)


def test_a_new_rate_embedding_adds_nothing():
    assert RateEmbedding(8, 16)(torch.tensor([1, 30])).abs().max() == 0
