"""Spectrograms."""

from __future__ import annotations

from .case import FIRST, Case, layer

FRAMES = {"frame_length": 8, "frame_step": 3, "only": "keras"}
MEL = {"fft_length": 16, "sequence_stride": 6, "num_mel_bins": 4, "sampling_rate": 100, "only": "keras"}

CASES: tuple[Case, ...] = (
    *(
        layer("STFTSpectrogram", (20, 2), mode=mode, private=mode == "magnitude", **FRAMES)
        for mode in (
            *("log", "magnitude", "psd"),
            *("real", "imag", "stft"),
        )
    ),
    layer("STFTSpectrogram", (20, 2), mode="psd", padding="same", expand_dims=True, private=False, **FRAMES),
    layer("STFTSpectrogram", (2, 20), mode="psd", data_format=FIRST, private=False, **FRAMES),
    layer("STFTSpectrogram", (2, 20), mode="real", data_format=FIRST, expand_dims=True, private=False, **FRAMES),
    layer("MelSpectrogram", (40,), min_freq=1.0, power_to_db=False, sequence_length=12, private=False, **MEL),
    layer("MelSpectrogram", (40,), min_freq=1.0, power_to_db=False, private=False, **MEL),
    layer("MelSpectrogram", (40,), min_freq=1.0, power_to_db=False, mag_exp=1.0, private=False, **MEL),
)
