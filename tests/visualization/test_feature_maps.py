import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from reldn_d2.visualization.feature_maps import feature_map_colours, feature_map_overlay

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def hottest(overlay: np.ndarray) -> tuple[float, float]:
    """Centre (row, column) of the pixels that are clearly red."""
    colours = overlay.astype(int)
    rows, columns = np.nonzero(colours[..., 0] - colours[..., 2] > 60)
    return float(rows.mean()), float(columns.mean())


def test_the_highest_mean_is_hottest() -> None:
    features = torch.zeros(4, 6, 8)
    features[0, 4, 1] = 8.0
    features[1, 1, 6] = 3.0
    row, column = hottest(feature_map_overlay(features, IMAGE, opacity=1.0))
    # Cell (4, 1) of 10 x 10 pixels.
    assert abs(row - 44.5) < 2 and abs(column - 14.5) < 2


def test_channels_are_averaged() -> None:
    features = torch.randn(5, 6, 8, dtype=torch.float64)
    mean = features.mean(dim=0, keepdim=True)
    difference = feature_map_overlay(features, IMAGE).astype(int) - feature_map_overlay(mean, IMAGE)
    assert np.abs(difference).max() <= 1


def test_padding_is_cut_off() -> None:
    padded = torch.zeros(2, 10, 16)
    padded[:, 6:] = 100.0
    padded[:, :6, 8:] = -100.0
    padded[:, 2, 3] = 5.0
    cut = feature_map_overlay(padded, IMAGE, content=(0.4, 0.4), opacity=1.0)
    row, column = hottest(cut)
    # 4 of 10 rows over 60 pixels, 6.4 of 16 columns over 80 pixels: cell (2, 3) is centred at (37.5, 43.75).
    assert abs(row - 37) < 2 and abs(column - 43.25) < 2


def test_opacity_zero_is_the_image() -> None:
    assert (feature_map_overlay(torch.randn(3, 4, 4), IMAGE, opacity=0.0) == IMAGE).all()


def test_a_constant_map_has_one_colour() -> None:
    overlay = feature_map_overlay(torch.full((3, 4, 4), 7.0), IMAGE, opacity=1.0)
    assert overlay.shape == IMAGE.shape and overlay.dtype == np.uint8
    assert len(np.unique(overlay.reshape(-1, 3), axis=0)) == 1


def test_the_legend_has_the_colours_of_the_maps() -> None:
    features = torch.linspace(0, 1, 5).reshape(1, 1, 5)
    shown = feature_map_overlay(features, np.zeros((1, 5, 3), np.uint8), opacity=1.0)
    legend = [np.rint(np.array(to_rgb(colour)) * 255) for colour in feature_map_colours(5)]
    np.testing.assert_allclose(shown[0], legend, atol=1)


@pytest.mark.parametrize(
    ("features", "image", "options", "message"),
    [
        (torch.zeros(4, 4), IMAGE, {}, "C, h, w"),
        (torch.zeros(0, 4, 4), IMAGE, {}, "C, h, w"),
        (torch.full((1, 2, 2), float("nan")), IMAGE, {}, "NaN"),
        (torch.zeros(1, 2, 2), IMAGE[..., 0], {}, "uint8"),
        (torch.zeros(1, 2, 2), IMAGE, {"content": (0.0, 1.0)}, "content"),
        (torch.zeros(1, 2, 2), IMAGE, {"opacity": 1.5}, "opacity"),
    ],
)
def test_bad_input_is_refused(
    features: torch.Tensor, image: np.ndarray, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        feature_map_overlay(features, image, **options)
