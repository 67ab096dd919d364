"""Layers that do nothing at inference: noise, and all random augmentation that leaves sizes alone.

Not among them: what works on every image (`image.py`).
"""

from __future__ import annotations

from typing import Any

from keras_private.lowering.registry import lowers

AUGMENTATION = (
    *("AugMix", "CutMix", "MixUp", "RandAugment", "Solarization"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform"),
    *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
    *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness"),
    *("RandomShear", "RandomTranslation", "RandomZoom"),
    *("RandomHeight", "RandomWidth"),  # tf_keras only
)


@lowers(
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
    "Identity",
    *AUGMENTATION,
)
def lower_identity(prot: Any, layer: Any, x: Any) -> Any:
    del prot, layer
    return x
