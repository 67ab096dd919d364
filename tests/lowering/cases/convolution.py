"""Convolutions."""

from __future__ import annotations

from .case import IMAGE, STEPS, Case, layer

CASES: tuple[Case, ...] = (
    *(
        layer("Conv2D", IMAGE, 4, kernel, strides=strides, padding=padding)
        for kernel, strides, padding in [
            (1, 1, "valid"),
            (3, 1, "valid"),
            (3, 1, "same"),
            ((2, 3), (2, 1), "valid"),
            ((2, 3), (1, 2), "same"),
            (3, 2, "same"),
            (2, 3, "same"),
        ]
    ),
    layer("Conv2D", IMAGE, 2, 2, use_bias=False, activation="relu"),
    layer("Conv2D", IMAGE, 2, 2, dilation_rate=2),
    layer("Conv2D", IMAGE, 2, 3, dilation_rate=(1, 2), padding="same"),
    layer("Conv2D", (4, 4, 4), 6, 3, groups=2, padding="same"),
    layer("DepthwiseConv2D", IMAGE, 3),
    layer("DepthwiseConv2D", IMAGE, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    layer("DepthwiseConv2D", IMAGE, 2, dilation_rate=2, use_bias=False),
    layer("SeparableConv2D", IMAGE, 4, 3),
    layer("SeparableConv2D", IMAGE, 4, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    layer("SeparableConv2D", IMAGE, 4, 2, dilation_rate=2, use_bias=False),
    *(
        layer("Conv2DTranspose", IMAGE, 4, kernel, strides=strides, padding=padding)
        for kernel, strides, padding in [
            (1, 1, "valid"),
            (3, 1, "same"),
            (3, 2, "valid"),
            (3, 2, "same"),
            (2, 2, "same"),
            ((2, 4), (3, 2), "valid"),
            ((2, 5), (3, 2), "same"),
        ]
    ),
    layer("Conv2DTranspose", IMAGE, 2, 3, strides=2, padding="same", output_padding=1, activation="relu"),
    layer("Conv2DTranspose", IMAGE, 2, (2, 3), strides=3, padding="same", output_padding=(1, 2), use_bias=False),
    layer("Conv2DTranspose", IMAGE, 2, 2, strides=2, output_padding=1),
    layer("Conv2DTranspose", IMAGE, 2, 3, dilation_rate=2, padding="same"),
    layer("Conv1D", STEPS, 4, 3),
    layer("Conv1D", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    layer("Conv1D", STEPS, 4, 2, dilation_rate=2, padding="causal", use_bias=False),
    layer("Conv1D", (6, 4), 6, 3, groups=2),
    layer("DepthwiseConv1D", STEPS, 3, depth_multiplier=2, padding="same"),
    layer("DepthwiseConv1D", STEPS, 2, strides=2, activation="relu"),
    layer("SeparableConv1D", STEPS, 4, 3, depth_multiplier=2, padding="same", activation="relu"),
    layer("SeparableConv1D", STEPS, 4, 2, strides=2),
    layer("Conv1DTranspose", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    layer("Conv1DTranspose", STEPS, 4, 2, strides=3),
    layer("Conv1DTranspose", STEPS, 2, 3, strides=2, output_padding=1, padding="same"),
)
