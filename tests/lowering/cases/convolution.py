"""Convolutions."""

from __future__ import annotations

from .case import FIRST, IMAGE, STEPS, VOLUME, Case, layer

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
    layer("Conv2D", IMAGE, 2, 2, dilation_rate=2, private=False),
    layer("Conv2D", IMAGE, 2, 3, dilation_rate=(1, 2), padding="same", private=False),
    layer("Conv2D", (4, 4, 4), 6, 3, groups=2, padding="same", private=False),
    layer("DepthwiseConv2D", IMAGE, 3),
    layer("DepthwiseConv2D", IMAGE, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    layer("DepthwiseConv2D", IMAGE, 2, dilation_rate=2, use_bias=False, private=False),
    layer("SeparableConv2D", IMAGE, 4, 3),
    layer("SeparableConv2D", IMAGE, 4, 2, depth_multiplier=2, strides=2, padding="same", activation="relu"),
    layer("SeparableConv2D", IMAGE, 4, 2, dilation_rate=2, use_bias=False, private=False),
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
    layer(
        "Conv2DTranspose",
        IMAGE,
        2,
        (2, 3),
        strides=3,
        padding="same",
        output_padding=(1, 2),
        use_bias=False,
        private=False,
    ),
    layer("Conv2DTranspose", IMAGE, 2, 2, strides=2, output_padding=1, private=False),
    layer("Conv2DTranspose", IMAGE, 2, 3, dilation_rate=2, padding="same", private=False),
    layer("Conv1D", STEPS, 4, 3),
    layer("Conv1D", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    layer("Conv1D", STEPS, 4, 2, dilation_rate=2, padding="causal", use_bias=False, private=False),
    layer("Conv1D", (6, 4), 6, 3, groups=2, private=False),
    layer("DepthwiseConv1D", STEPS, 3, depth_multiplier=2, padding="same"),
    layer("DepthwiseConv1D", STEPS, 2, strides=2, activation="relu"),
    layer("SeparableConv1D", STEPS, 4, 3, depth_multiplier=2, padding="same", activation="relu"),
    layer("SeparableConv1D", STEPS, 4, 2, strides=2, private=False),
    layer("Conv1DTranspose", STEPS, 4, 3, strides=2, padding="same", activation="relu"),
    layer("Conv1DTranspose", STEPS, 4, 2, strides=3, private=False),
    layer("Conv1DTranspose", STEPS, 2, 3, strides=2, output_padding=1, padding="same", private=False),
    layer("Conv2D", (4, 4, 4), 8, 2, groups=4, strides=2, activation="relu", private=False),
    layer("Conv2D", (4, 4, 6), 6, (3, 2), groups=3, padding="same", dilation_rate=2, use_bias=False, private=False),
    layer("Conv1D", (6, 4), 8, 3, groups=4, padding="causal", private=False),
    *(
        layer("Conv3D", VOLUME, 3, kernel, strides=strides, padding=padding, private=kernel == 2)
        for kernel, strides, padding in [
            (1, 1, "valid"),
            (3, 1, "same"),
            (2, (2, 1, 2), "same"),
            ((2, 3, 1), (1, 2, 1), "valid"),
            ((3, 2, 2), (2, 3, 1), "same"),
            ((4, 4, 3), 2, "valid"),
            ((1, 4, 2), (1, 3, 1), "same"),
        ]
    ),
    layer("Conv3D", VOLUME, 2, (2, 3, 2), dilation_rate=(2, 1, 2), activation="relu", private=False),
    layer("Conv3D", VOLUME, 2, 2, dilation_rate=2, padding="same", use_bias=False, private=False),
    layer("Conv3D", (3, 4, 4, 4), 4, 2, groups=2, strides=2, padding="same", private=False),
    layer("Conv3DTranspose", VOLUME, 2, 3, strides=2, padding="same"),
    layer("Conv3DTranspose", (2, 3, 2, 3), 2, (2, 1, 4), strides=(1, 2, 3), use_bias=False, private=False),
    layer("Conv3DTranspose", (2, 3, 2, 3), 2, 3, strides=2, padding="same", output_padding=1, private=False),
    layer("Conv2DTranspose", IMAGE, 2, 5, strides=3, padding="valid", private=False),
    layer("Conv2DTranspose", IMAGE, 2, 4, strides=2, padding="same", activation="relu", private=False),
    layer("Conv2DTranspose", IMAGE, 2, 2, strides=3, output_padding=(2, 0), private=False),
    layer("Conv2DTranspose", (3, 4, 4), 2, 3, groups=2, only="tf_keras", private=False),  # which it ignores
    layer("Conv1DTranspose", STEPS, 2, 3, dilation_rate=2, private=False),
    # not with as many filters as columns: Keras then adds the bias along the columns
    layer("Conv1D", STEPS, 4, 3, strides=2, padding="same", data_format=FIRST, only="keras", private=False),
    layer("Conv2D", IMAGE, 4, 3, strides=2, padding="same", data_format=FIRST, only="keras", private=False),
    layer("Conv2D", (4, 3, 4), 4, 2, groups=2, data_format=FIRST, only="keras", private=False),
    layer("Conv3D", (2, 3, 4, 3), 2, 2, padding="same", data_format=FIRST, only="keras", private=False),
    layer("Conv2DTranspose", IMAGE, 2, 3, strides=2, data_format=FIRST, only="keras", private=False),
    layer("Conv3DTranspose", (2, 3, 2, 3), 2, 2, strides=2, data_format=FIRST, only="keras", private=False),
    layer("DepthwiseConv2D", IMAGE, 2, data_format=FIRST, only="keras", private=False),
    layer("SeparableConv2D", IMAGE, 5, 2, data_format=FIRST, only="keras", private=False),
    layer("LocallyConnected1D", STEPS, 4, 3, strides=2, activation="relu", only="tf_keras"),
    layer("LocallyConnected1D", STEPS, 4, 2, data_format=FIRST, only="tf_keras", private=False),
    layer("LocallyConnected2D", IMAGE, 4, (2, 3), strides=(2, 1), use_bias=False, only="tf_keras", private=False),
    layer("LocallyConnected2D", IMAGE, 4, (3, 2), data_format=FIRST, only="tf_keras", private=False),
)
