"""Spectrograms: STFTSpectrogram and MelSpectrogram.

A frame times the matrix of the discrete Fourier transform, which everybody knows, costs nothing; the squares of its
real and imaginary part, a root and a logarithm cost what they cost everywhere. Powers below 2^-23 count as that, where
Keras' floors are 1e-7 (STFTSpectrogram) and `min_power` (MelSpectrogram): silence is not told from what is as soft.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.geometry import same_along
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import Refusal, array, lowers, secret

_LOWEST, _HIGHEST = 2.0**-23, 2.0**30  # powers


def _check_stft(layer: Any) -> Iterable[Refusal]:
    if layer.mode == "angle":
        yield Refusal("mode 'angle' needs an arctangent of two values", "use mode='stft'")


@lowers("STFTSpectrogram", check=_check_stft)
def lower_stft(prot: Any, layer: Any, x: Any) -> Any:
    x = x if layer.data_format == "channels_first" else prot.transpose(x, [0, 2, 1])
    step, length = layer._frame_step, layer.frame_length  # its settings have no other names
    if layer.padding == "same":
        x = prot.pad(x, [(0, 0), (0, 0), same_along(sizes(x)[1], length, step)])
    parts = [_transformed(prot, layer, part, _frames(prot, x, length, step)) for part in _PARTS[layer.mode]]
    y = _MODES[layer.mode](prot, parts)  # (channels, frames, frequencies)
    channels, frames, frequencies = sizes(y)
    if layer.data_format == "channels_first":
        if layer.expand_dims:
            return y
        return prot.reshape(prot.transpose(y, [0, 1, 3, 2]), [-1, channels * frequencies, frames])
    if layer.expand_dims:
        return prot.transpose(y, [0, 2, 3, 1])
    return prot.reshape(prot.transpose(y, [0, 2, 1, 3]), [-1, frames, channels * frequencies])


def _frames(prot: Any, x: Any, length: int, step: int) -> Any:
    """(channels, frames, length) of (channels, steps)."""
    count = (sizes(x)[1] - length) // step + 1
    x = keep(prot, x, 2, [frame * step + at for frame in range(count) for at in range(length)])
    return prot.reshape(x, [-1, sizes(x)[0], count, length])


def _transformed(prot: Any, layer: Any, part: str, frames: Any) -> Any:
    """One part of the transform. A matrix that is not the one it began with has been trained, and is secret."""
    kernel = array(getattr(layer, f"{part}_kernel"))
    initializer = importlib.import_module("keras").initializers.STFT(part, layer.window, layer.scaling, layer.periodic)
    known = np.array_equal(kernel, array(initializer(kernel.shape)))
    matrix = kernel[:, 0]
    return prot.matmul(frames, prot.define_constant(matrix) if known else secret(prot, matrix, f"{part}_kernel"))


def _power(prot: Any, parts: list[Any]) -> Any:
    real, imaginary = parts
    return prot.add(prot.square(real), prot.square(imaginary))


def _density(prot: Any, parts: list[Any]) -> Any:
    """Twice the power but at the ends, whose frequencies have no other half."""
    power = _power(prot, parts)
    factor = np.full(sizes(power)[-1], 2.0)
    factor[[0, -1]] = 1.0
    return prot.mul(power, prot.define_constant(factor))


_PARTS = {
    **dict.fromkeys(("stft", "psd", "magnitude", "log"), ("real", "imag")),
    "real": ("real",),
    "imag": ("imag",),
}
_MODES: dict[str, Any] = {
    "real": lambda _, parts: parts[0],
    "imag": lambda _, parts: parts[0],
    "stft": lambda prot, parts: prot.concat(parts, axis=3),
    "psd": _density,
    "magnitude": lambda prot, parts: prot.spline(_power(prot, parts), "sqrt", _LOWEST, _HIGHEST),
    "log": lambda prot, parts: prot.mul(prot.spline(_power(prot, parts), "log", _LOWEST, _HIGHEST), 0.5),
}


def _check_mel(layer: Any) -> Iterable[Refusal]:
    if layer.mag_exp not in (1.0, 2.0):
        yield Refusal(f"mag_exp {layer.mag_exp} is not supported", "use 2.0 or 1.0")


@lowers("MelSpectrogram", check=_check_mel)
def lower_mel(prot: Any, layer: Any, x: Any) -> Any:
    """`top_db` is counted from the loudest value of each row; Keras takes the loudest of the whole batch."""
    length, half = layer.fft_length, layer.fft_length // 2
    places = np.pad(np.arange(sizes(x)[0]), half, mode="reflect")
    x = prot.reshape(prot.gather(x, places.tolist(), 1), [-1, 1, len(places)])
    frames = _frames(prot, x, length, layer.sequence_stride)
    parts = [prot.matmul(frames, prot.define_constant(matrix)) for matrix in _fourier(layer)]
    y = _power(prot, parts)
    if layer.mag_exp == 1.0:
        y = prot.spline(y, "sqrt", _LOWEST, _HIGHEST)
    mel = layer.linear_to_mel_weight_matrix(
        num_mel_bins=layer.num_mel_bins,
        num_spectrogram_bins=half + 1,
        sampling_rate=layer.sampling_rate,
        lower_edge_hertz=layer.min_freq,
        upper_edge_hertz=layer.max_freq,
    )
    y = prot.matmul(y, prot.define_constant(array(mel)))
    _, count, bins = sizes(y)
    y = prot.reshape(y, [-1, count, bins])
    if layer.power_to_db:
        decibel = 10.0 / math.log(10.0)
        y = prot.mul(prot.spline(y, "log", _LOWEST, _HIGHEST), decibel)
        y = prot.add(y, -decibel * math.log(max(abs(layer.ref_power), layer.min_power)))
        floor = prot.add(prot.reduce_max(prot.reshape(y, [-1, count * bins]), 1), -float(layer.top_db))
        y = prot.maximum(y, prot.reshape(floor, [-1, 1, 1]))
    return prot.transpose(y, [0, 2, 1])


def _fourier(layer: Any) -> list[NDArray[np.float64]]:
    """What turns a frame into the real and the imaginary part of its spectrum: as Keras does it."""
    unit = np.eye(layer.fft_length, dtype=np.float32)
    parts = layer.backend.math.stft(
        unit,
        sequence_length=layer.sequence_length,
        sequence_stride=layer.sequence_stride,
        fft_length=layer.fft_length,
        window=layer.window,
        center=False,
    )
    return [array(part)[:, 0] for part in parts]
