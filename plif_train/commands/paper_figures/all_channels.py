"""The figure S3: every channel of the first layer for one sample, as spikes at t = 0 and rates after T_s steps."""

from __future__ import annotations

import math

import numpy as np

from plif_train.commands.paper_figures.draw import Drawing, colour_limit, create_panels, show_image
from plif_train.commands.paper_figures.subject import FigureModel
from runtime.observers.evaluation_report.png import draw_input


def draw(subject: FigureModel) -> Drawing:
    activity = subject.activity
    spikes, rates = activity.spikes[0, 0], activity.rates[0]
    figure, ((first, second, third),) = create_panels(1, 3, 11, 4.4, width_ratios=[0.5, 1, 1])
    show_image(first, draw_input(activity.x[:, 0].mean(0)), f"{activity.names[0]}: mean input")
    show_image(second, tile_maps(spikes), f"spikes at t = 0 ({100 * spikes.mean():.1f} % fire)")
    title = f"firing rates, {activity.steps} steps ({100 * rates.mean():.1f} %)"
    image = show_image(third, tile_maps(rates), title, top=colour_limit(rates))
    bar = figure.colorbar(image, ax=third, shrink=0.8)
    bar.ax.tick_params(labelsize=7)
    rows = [
        {"channel": c, "fire_at_t0": float(spikes[c].mean()), "mean_rate": float(rates[c].mean())}
        for c in range(len(rates))
    ]
    return Drawing(
        figure, rows, f"All {len(rates)} channels of {activity.layer} (Fig. S3), row by row{subject.caption_end}"
    )


def tile_maps(maps: np.ndarray) -> np.ndarray:
    """Tile the maps [C, H, W] of all channels into one nearly square image, with empty gaps between them."""
    C, H, W = maps.shape
    across = math.ceil(math.sqrt(C))
    down = math.ceil(C / across)
    gap = max(1, H // 16)
    image = np.full((down * (H + gap) - gap, across * (W + gap) - gap), np.nan, np.float32)
    for c in range(C):
        y, x = c // across * (H + gap), c % across * (W + gap)
        image[y : y + H, x : x + W] = maps[c]
    return image
