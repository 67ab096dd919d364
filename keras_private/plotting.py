"""A picture of where a query's rounds, bytes and time go, layer by layer. Takes the extra `plot`."""

from __future__ import annotations

from pathlib import Path

from keras_private.errors import ConfigError
from keras_private.extras import require
from keras_private.plan.layers import LayerCost, Timing, by_layer
from keras_private.plan.networks import NETWORKS, Network, estimate
from keras_private.plan.plan import Plan

_MOST = 40  # layers with a bar of their own: those that cost most
_WIDTH, _HEIGHT = 11.0, 0.28  # inches: of the picture, and of a bar
FORMATS = (".png", ".svg", ".pdf")


def plot_plan(plan: Plan, path: str | Path, *, batch: int = 1, title: str = "", timing: Timing | None = None) -> None:
    """Draw rounds, bytes of the busiest party, and time of every layer of an executable plan as bars beside each other.

    Args:
        path: a file that ends in .png, .svg or .pdf; replaced if it is there.
        batch: rows of the query that rounds and bytes are given for.
        timing: of a run of this plan. None: the time is what a LAN between the parties would take, computing left out.

    Raises:
        ConfigError: the file is of another kind or cannot be written, or the extra `plot` is not installed.
    """
    require("plot", "a picture of a plan")
    file = Path(path).expanduser()
    if file.suffix not in FORMATS:
        raise ConfigError(f"{file} must end in one of {', '.join(FORMATS)}")
    from matplotlib.figure import Figure  # no pyplot: no window, and no state that others share

    lan = next(network for network in NETWORKS if network.name == "LAN")
    layers = _gathered(by_layer(plan, batch, timing))
    times = [layer.seconds if timing else estimate(layer.cost, lan) for layer in layers]
    figure = Figure(figsize=(_WIDTH, 1.6 + _HEIGHT * len(layers)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    columns = (
        ("rounds", [layer.cost.rounds for layer in layers]),
        ("kB sent by the busiest party", [max(layer.cost.sent) / 1e3 for layer in layers]),
        (_said(timing, lan), [1e3 * seconds for seconds in times]),
    )
    for panel, (name, values) in zip(panels, columns, strict=True):
        panel.barh(range(len(layers)), values, color="#33658a")
        panel.set_xlabel(name)
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(layers)), [layer.layer for layer in layers], fontsize=8)
    panels[0].invert_yaxis()
    rows = "1 row" if batch == 1 else f"{batch} rows"
    figure.suptitle(f"{title}: a query of {rows}" if title else f"A query of {rows}")
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error}") from error


def _said(timing: Timing | None, lan: Network) -> str:
    if timing is None:
        return f"ms for the network alone, estimated:\n{lan.said}"
    return f"ms, measured in a run of {timing.rows} rows" if timing.rows > 1 else "ms, measured in a run of 1 row"


def _gathered(layers: list[LayerCost]) -> list[LayerCost]:
    """Those that send or take most, in their order, and all others as one."""
    if len(layers) <= _MOST:
        return layers
    dear = sorted(layers, key=lambda layer: (layer.seconds, max(layer.cost.sent)), reverse=True)[: _MOST - 1]
    rest = [layer for layer in layers if layer not in dear]
    name = f"{len(rest)} others"
    whole = LayerCost(name, rest[0].cost, rest[0].seconds)
    for layer in rest[1:]:
        whole = LayerCost(name, whole.cost + layer.cost, whole.seconds + layer.seconds)
    return [*(layer for layer in layers if layer in dear), whole]
