"""An LSTM on a real series: how many sunspots will there be next year? Every year from 1700 on, as statsmodels ships.

python examples/models/sunspots.py                  # a minute
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
from agreement import compare
from statsmodels.datasets import sunspots

YEARS, TEST, MOST = 24, 80, 200.0  # years that are looked back on; years to predict; sunspots that 1 stands for


def build() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((YEARS, 1), name="years"), layers.LSTM(16), layers.Dense(1)],
        name="sunspots",
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    keras.utils.set_random_seed(1)
    series = np.asarray(sunspots.load_pandas().data["SUNACTIVITY"], np.float32) / MOST
    windows = np.lib.stride_tricks.sliding_window_view(series, YEARS + 1)
    x, y = windows[:, :YEARS, None].copy(), windows[:, YEARS]
    model = build()
    model.compile("adam", "mse")
    model.fit(x[:-TEST], y[:-TEST], batch_size=16, epochs=60, verbose=0)
    predicted = model.predict(x[-TEST:], verbose=0)[:, 0]
    off, naive = (MOST * np.mean(np.abs(each - y[-TEST:])) for each in (predicted, x[-TEST:, -1, 0]))
    print(f"{model.name}: {len(x) - TEST} windows of {YEARS} years for training, {TEST} for testing")
    print(f"  off by {off:.1f} sunspots in the mean; the year before is, taken for the next, by {naive:.1f}")
    compare(model, x[-TEST:], None, input_range=(0, 1), calibration=x[:-TEST], batch=20)


if __name__ == "__main__":
    main()
