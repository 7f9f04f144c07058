"""Draw the figures on record: image size, and rebuild time after each kind of change.

The colours have the same contrast on a white page and on a dark one.
"""

from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.images.results import OWN, Figures, Results

FILE = Path(__file__).with_name("chart.svg")
TEXT = "#7a7a7a"
LADDER = "#999999"
MNISTCTL = "#8a63d2"
CHANGES = [
    ("python", "Python change", "#0072b2"),
    ("cpp", "C++ change", "#d55e00"),
    ("dependency", "dependency change", "#009e73"),
]
STYLE: dict[Any, Any] = {
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.spines.bottom": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": TEXT,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "mnistctl",
    "text.color": TEXT,
    "xtick.bottom": False,
    "xtick.labelbottom": False,
    "ytick.color": TEXT,
    "ytick.left": False,
}


def draw(results: Results) -> str:
    """Return the chart as SVG, the same text for the same results."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        sizes, times = figure.subplots(1, 2, sharey=True, width_ratios=(2, 3))
        _draw_sizes(sizes, results.builds)
        _draw_times(times, results.builds)
        labels = [name if name in OWN else f"rung {name}" for name in results.builds]
        sizes.set_yticks(range(len(labels)), labels)
        for name, label in zip(results.builds, sizes.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if name in OWN else "normal")
        sizes.invert_yaxis()
        file = StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Creator": None, "Date": None}
        )
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _draw_sizes(axes: Axes, builds: dict[str, Figures]) -> None:
    axes.set_title("Image size, MB")
    colours = [MNISTCTL if name in OWN else LADDER for name in builds]
    megabytes = [build.size / 1e6 for build in builds.values()]
    bars = axes.barh(range(len(builds)), megabytes, 0.6, color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.margins(x=0.16)


def _draw_times(axes: Axes, builds: dict[str, Figures]) -> None:
    axes.set_title("Rebuild time, seconds")
    height = 0.27
    for index, (attribute, label, colour) in enumerate(CHANGES):
        positions = [row + (index - 1) * height for row in range(len(builds))]
        seconds = [getattr(build, attribute) for build in builds.values()]
        bars = axes.barh(positions, seconds, height * 0.85, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.1f}", padding=4, fontsize=8.5)
    axes.margins(x=0.1)
    axes.legend(loc="lower right", frameon=False)
