"""Images of another size."""

from __future__ import annotations

from .case import FIRST, IMAGE, STEPS, Case, layer

CASES: tuple[Case, ...] = (
    layer("UpSampling1D", STEPS, 2, private=False),
    layer("UpSampling2D", IMAGE, 2),
    layer("UpSampling2D", IMAGE, (1, 3), private=False),
    layer("UpSampling2D", IMAGE, (2, 3), data_format=FIRST, private=False),
    layer("UpSampling3D", (2, 3, 2, 2), (1, 2, 3), private=False),
    layer("UpSampling3D", (2, 3, 2, 2), 2, data_format=FIRST, private=False),
    layer("UpSampling2D", IMAGE, 2, interpolation="bilinear"),
    layer("UpSampling2D", IMAGE, (3, 1), interpolation="bicubic", data_format=FIRST, private=False),
    *(layer("UpSampling2D", IMAGE, 2, interpolation=way, private=False) for way in ("lanczos3", "lanczos5")),
    *(
        layer("UpSampling2D", IMAGE, 2, interpolation=way, only="tf_keras", private=False)
        for way in ("area", "gaussian", "mitchellcubic")
    ),
    *(
        layer("Resizing", IMAGE, height, width, interpolation=way, private=way == "bilinear")
        for way in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        for height, width in [(3, 7)]
    ),
    *(
        layer("Resizing", IMAGE, 4, 3, interpolation=way, only="tf_keras", private=False)
        for way in ("area", "gaussian", "mitchellcubic")
    ),
    layer("Resizing", IMAGE, 6, 5, private=False),
    layer("Resizing", (6, 9, 2), 4, 4, crop_to_aspect_ratio=True, private=False),
    layer("Resizing", (6, 9, 2), 4, 4, interpolation="nearest", crop_to_aspect_ratio=True, private=False),
    layer("Resizing", (6, 9, 2), 5, 4, pad_to_aspect_ratio=True, fill_value=0.5, only="keras"),
    layer("Resizing", (6, 9, 2), 3, 4, antialias=True, only="keras", private=False),
    layer("Resizing", IMAGE, 3, 4, data_format=FIRST, only="keras", private=False),
    layer("CenterCrop", IMAGE, 3, 2, private=False),
    layer("CenterCrop", IMAGE, 8, 4, private=False),
    layer("CenterCrop", IMAGE, 3, 2, data_format=FIRST, only="keras", private=False),
    layer("RandomCrop", IMAGE, 4, 4, only="tf_keras", private=False),
    layer("RandomCrop", IMAGE, 6, 5, only="keras", private=False),
    layer("AutoContrast", IMAGE, value_range=(-2, 2), only="keras"),
)
