"""Random changes to training inputs do what their settings say, and nothing without them."""

from typing import Any

import pytest

from trimtab_models.settings import Training

torch = pytest.importorskip("torch")

from trimtab_models.augmentation import augment  # noqa: E402  after the guard

pytestmark = pytest.mark.build

STILL = Training(epochs=1, crop_padding=0, flip=False)


def chance() -> Any:
    return torch.Generator().manual_seed(4)


def test_nothing_asked_nothing_changed() -> None:
    images = torch.randint(0, 256, (5, 3, 9, 9), dtype=torch.uint8, generator=chance())
    same, mirrored = augment(images, 1 / 255, STILL, chance())
    torch.testing.assert_close(same, images / 255)
    assert not mirrored.any()
    signals = torch.randint(-99, 99, (5, 2, 40), dtype=torch.int16, generator=chance())
    scaled, _ = augment(signals, (0.5, 0.25), STILL, chance())
    torch.testing.assert_close(scaled, signals * torch.tensor([0.5, 0.25])[:, None])


def test_images_shift_within_the_padding_and_every_channel_alike() -> None:
    images = torch.zeros(200, 2, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    shifted, _ = augment(images, 1 / 255, Training(epochs=1, crop_padding=2, flip=False), chance())
    assert (shifted.sum(dim=(2, 3)) == 1).all()
    torch.testing.assert_close(shifted[:, 0], shifted[:, 1])
    places = {tuple(place) for place in shifted[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_half_of_the_images_are_mirrored_and_it_says_which() -> None:
    images = torch.arange(81, dtype=torch.uint8).reshape(1, 1, 9, 9).repeat(100, 1, 1, 1)
    shown, mirrored = augment(images, 1 / 255, Training(epochs=1, crop_padding=0), chance())
    assert 30 < int(mirrored.sum()) < 70
    torch.testing.assert_close(shown[mirrored], images[mirrored].flip(3) / 255)


def test_signals_move_in_time_and_end_in_silence() -> None:
    signals = torch.zeros(300, 101, dtype=torch.int16)
    signals[:, 50] = 100
    moved, _ = augment(signals, 0.01, Training(epochs=1, shift_frac=0.1), chance())
    centres = (moved * torch.arange(101)).sum(dim=1)
    torch.testing.assert_close(moved.sum(dim=1), torch.ones(300))
    assert float((centres - 50).abs().max()) <= 10.1
    assert float(centres.std()) > 4


def test_gain_and_noise_stay_within_their_settings() -> None:
    signals = (1000 * torch.sin(torch.arange(400) / 5)).short().repeat(50, 1)
    loud, _ = augment(signals, 0.001, Training(epochs=1, gain_db=6), chance())
    ratios = loud.std(dim=1) / (signals * 0.001).std(dim=1)
    assert 10 ** (-6 / 20) - 1e-3 <= float(ratios.min()) < 0.7
    assert 1.4 < float(ratios.max()) <= 10 ** (6 / 20) + 1e-3
    noisy, _ = augment(signals, 0.001, Training(epochs=1, noise_frac=0.2), chance())
    assert 0.01 < float((noisy - signals * 0.001).std()) < 0.2 * 0.71
