"""What stands before a network: normalisation, log-mel features, and the architectures behind them."""

from typing import Any

import numpy as np
import pytest

from trimtab_models.architectures.configs import ConvNet, LeNet5, LogMel, Mlp, MobileNet, PooledResNet, ResNet

torch = pytest.importorskip("torch")

from trimtab_models import architectures  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head, fourier_basis, mel_weights  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import session  # noqa: E402

pytestmark = pytest.mark.build

GREY = Head(10, (1, 28, 28), (0.5,), (0.25,))
COLOUR = Head(10, (3, 32, 32), (0.4, 0.5, 0.6), (0.2, 0.25, 0.5))
WINDOW = Head(5, (6, 128), (0.0,) * 6, (1.0,) * 6)
AUDIO = Head(3, (2000,), (0.0,), (1.0,))
FEATURES = LogMel(rate_hz=8000, window=128, hop=100, bands=16)


def test_normalising_is_per_channel() -> None:
    pixels = torch.ones(2, 3, 32, 32) * torch.tensor([0.6, 0.5, 1.1])[:, None, None]
    normal = COLOUR.frontend()(pixels)
    assert normal[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_windows_become_maps_of_height_one() -> None:
    frontend = WINDOW.frontend()
    assert frontend.map_shape == (6, 1, 128)
    assert frontend(torch.zeros(4, 6, 128)).shape == (4, 6, 1, 128)


def test_the_basis_is_the_fourier_transform_of_hann_windowed_frames() -> None:
    signal = np.random.default_rng(1).standard_normal(64)
    cosines, sines = fourier_basis(64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    wanted = np.fft.rfft(signal * hann) / np.sqrt((hann**2).sum())
    np.testing.assert_allclose(cosines @ signal + 1j * (sines @ signal), wanted, atol=1e-12)


def test_mel_bands_peak_where_the_scale_says() -> None:
    config = LogMel(rate_hz=8000, window=512, hop=256, bands=10, low_hz=0, high_hz=4000)
    weights = mel_weights(config)
    top = 2595 * np.log10(1 + 4000 / 700)
    centres_hz = 700 * (10 ** (np.arange(1, 11) * top / 11 / 2595) - 1)
    bins_hz = np.arange(257) * 8000 / 512
    assert (
        np.abs(bins_hz[weights.argmax(axis=1)] - centres_hz).max() <= 8000 / 512
    )  # the nearest bin or, as triangles lean, the next
    assert (weights >= 0).all()
    assert weights.any(axis=1).all()


def test_a_louder_signal_has_larger_features() -> None:
    frontend = AUDIO.frontend(FEATURES).eval()
    assert frontend.map_shape == (1, 16, 19)
    tone = torch.sin(torch.arange(2000) * 2 * np.pi * 1000 / 8000)[None]
    quiet, loud = frontend(0.01 * tone), frontend(0.1 * tone)
    assert quiet.shape == (1, 1, 16, 19)
    band = int(loud[0, 0].mean(dim=1).argmax())
    difference = (loud - quiet)[0, 0, band].mean()
    assert float(difference) == pytest.approx(np.log(100), rel=0.01)  # amplitude 10, power 100


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (Mlp((20,)), GREY),
        (LeNet5(), GREY),
        (ResNet((16, 16), 1), COLOUR),
        (ResNet((16, 16), 1, FEATURES), AUDIO),
        (PooledResNet((16, 16, 16), (1, 1, 0), 16), COLOUR),
        (MobileNet((16, 16), (2, 1), 16), COLOUR),
        (MobileNet((16, 16), (2, 1), 16), WINDOW),
        (ConvNet(mean=False, hidden=8), COLOUR),
        (ConvNet(mean=False, kernel=5), WINDOW),
        (ConvNet((8,), (2,), (True,), frontend=FEATURES), AUDIO),
    ],
)
def test_every_architecture_runs_exported_with_any_batch(config: Any, head: Head) -> None:
    network = architectures.build(config, head, seed=1).eval()
    (stage,) = export(network, head.shape, "signal").stages
    inputs = torch.rand(3, *head.shape)
    (answers,) = session(stage.onnx).run(None, {"signal": inputs.numpy()})
    assert answers.shape == (3, head.classes)
    with torch.inference_mode():
        np.testing.assert_allclose(answers, network(inputs).numpy(), atol=1e-4)


def test_lenet5_has_the_parameters_of_the_papers() -> None:
    """431k for Caffe's LeNet-5, 267k for LeNet-300-100 (Han et al., NIPS 2015, tables 3 and 4)."""
    lenets = [architectures.build(config, GREY, seed=1) for config in (LeNet5(), Mlp((300, 100)))]
    assert [sum(p.numel() for p in net.parameters()) for net in lenets] == [431_080, 266_610]
