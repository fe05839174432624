"""LPIPS: what a distance must be, whose heads these are, and that no trunk is ever made up."""

import numpy as np
import pytest
import torch

from bench.metrics import lpips
from bench.metrics.batches import in_batches
from bench.metrics.lpips import Lpips, load_lpips
from bench.verify_pic import filled_lpips
from models.weights import read_card
from tests.bench.metrics.weight_files import Evil


@pytest.fixture(scope="module")
def model() -> Lpips:
    return filled_lpips("alex", "0.1")


def images(count: int, height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_equal_images_are_at_zero_and_both_orders_agree(model):
    a, b = images(3), images(3, seed=1)
    assert (model.distance(a, a) == 0).all()
    np.testing.assert_array_equal(model.distance(a, b), model.distance(b, a))
    assert (model.distance(a, b) > 0.01).all() and model.distance(a, b).dtype == np.float64


def test_more_noise_is_further(model):
    a = images(1).astype(int)
    steps = [np.clip(a + (images(1, seed=1).astype(int) - 128) * k // 8, 0, 255).astype(np.uint8) for k in (1, 2, 4, 8)]
    distances = [float(model.distance(a.astype(np.uint8), step)[0]) for step in steps]
    assert distances == sorted(distances) and distances[0] > 0


def test_a_pair_depends_on_itself_alone(model):
    a, b = images(11), images(11, seed=1)
    together = model.distance(a, b)
    np.testing.assert_array_equal(
        np.concatenate([model.distance(a[:3], b[:3]), model.distance(a[3:], b[3:])]), together
    )
    model.micro_batch = 4
    np.testing.assert_allclose(model.distance(a, b), together, atol=1e-7)


def test_by_hand_from_the_layers(model):
    a, b = (model.as_input(images(2, seed=seed)) for seed in (0, 1))
    x, y, parts = (a - model.shift) / model.scale, (b - model.shift) / model.scale, []
    for number, layer in enumerate(torchvision_features("alex", model)[: lpips.LAYERS["alex"][-1] + 1]):
        x, y = layer(x), layer(y)
        if number in lpips.LAYERS["alex"]:
            unit = [z / z.norm(dim=1, keepdim=True) for z in (x, y)]
            weighted = ((unit[0] - unit[1]) ** 2 * model.heads[len(parts)]).sum(1)
            parts.append(weighted.mean((1, 2)))
    torch.testing.assert_close(model.per_layer(a, b), torch.stack(parts, 1), atol=1e-6, rtol=1e-5)


def torchvision_features(net: str, model: Lpips) -> torch.nn.Sequential:
    features = lpips.TRUNKS[net](weights=None).features
    features.load_state_dict(model.features.state_dict())
    return features


def test_version_0_0_does_not_normalise_its_input():
    old, new = Lpips("squeeze", "0.0"), Lpips("squeeze", "0.1")
    assert (old.shift == 0).all() and (old.scale == 1).all() and new.shift.flatten().tolist() != [0, 0, 0]
    assert not old.heads[0].equal(new.heads[0])


def test_the_heads_say_whose_they_are_and_are_never_negative():
    card = read_card(lpips.HEADS)
    assert "BSD 2-Clause" in card["licence"] and "lpips 0.1.4" in card["source"]
    assert "Redistribution and use" in (lpips.HEADS.parent / "LICENSE-lpips.txt").read_text()
    for net in lpips.LAYERS:
        heads = Lpips(net).heads
        assert len(heads) == len(lpips.LAYERS[net]) and all((head >= 0).all() for head in heads)


def test_the_trunk_comes_from_torchvision_s_file_classifier_and_all(tmp_path, model):
    state = torchvision_features("alex", model).state_dict()
    whole = {f"features.{k}": v for k, v in state.items()} | {"classifier.1.weight": torch.zeros(2, 2)}
    torch.save(whole, tmp_path / lpips.FILES["alex"])
    loaded = load_lpips(tmp_path / lpips.FILES["alex"], "alex")
    assert not loaded.training
    np.testing.assert_array_equal(
        loaded.distance(images(1), images(1, seed=1)), model.distance(images(1), images(1, seed=1))
    )
    with pytest.raises(ValueError, match=r"trunk 'vgg'\) does not fit"):
        load_lpips(tmp_path / lpips.FILES["alex"], "vgg")


def test_no_file_no_trunk(tmp_path):
    with pytest.raises(ValueError, match=r"is not a file; the trunk 'vgg' is torchvision's vgg16-397923af\.pth"):
        load_lpips(tmp_path / "vgg.pth", "vgg")
    with pytest.raises(ValueError, match="known nets: alex, vgg, squeeze"):
        load_lpips(tmp_path / "vgg.pth", "resnet")
    torch.save({"features.0.weight": Evil(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="is never run"):
        load_lpips(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_a_model_that_was_never_filled_gives_no_number_and_draws_none():
    state = torch.random.get_rng_state()
    assert np.isnan(Lpips("alex").distance(images(1), images(1, seed=1))).all()
    assert torch.random.get_rng_state().equal(state)


def test_what_are_no_pairs_is_refused(model):
    with pytest.raises(ValueError, match=r"wanted \(N, H, W, 3\) uint8"):
        model.distance(images(1).astype(float), images(1))
    with pytest.raises(ValueError, match="as many, of one size"):
        model.distance(images(1), images(2))
    with pytest.raises(ValueError, match="images of 31x40; wanted 32x32 or more"):
        model.distance(images(1, 31, 40), images(1, 31, 40))
    with pytest.raises(ValueError, match="0 images"):
        in_batches(lambda x: torch.zeros(len(x)), 4, images(0))
