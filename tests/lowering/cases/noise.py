"""What does nothing at inference."""

from __future__ import annotations

from typing import Any

from .case import IMAGE, STEPS, Case, layer

AUGMENTATION: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    *((name, (), "keras") for name in ("AugMix", "CutMix", "MixUp", "RandAugment", "Solarization")),
    *((name, (), "keras") for name in ("RandomColorJitter", "RandomElasticTransform", "RandomErasing")),
    *((name, (), "keras") for name in ("RandomGaussianBlur", "RandomGrayscale", "RandomInvert", "RandomPerspective")),
    *((name, (0.5,), "keras") for name in ("RandomColorDegeneration", "RandomHue", "RandomSaturation")),
    ("RandomSharpness", (0.5,), "keras"),
    ("RandomPosterization", (3,), "keras"),
    ("RandomShear", (0.3, 0.3), "keras"),
    *((name, (0.3,), "tf_keras") for name in ("RandomHeight", "RandomWidth")),
    ("RandomFlip", (), ""),
    *((name, (0.5,), "") for name in ("RandomBrightness", "RandomContrast", "RandomRotation", "RandomZoom")),
    ("RandomTranslation", (0.3, 0.3), ""),
)


def augmentation(name: str, *args: Any, only: str = "", **kwargs: Any) -> Case:
    """Before a Dense, lest a plan without ops is all there is to test."""

    def build(keras: Any, x: Any) -> Any:
        return keras.layers.Dense(2)(getattr(keras.layers, name)(*args, **kwargs)(x))

    both = (only,) if only else ("keras", "tf_keras")
    return Case(name, IMAGE, build, both, layers=(name,), private=name == "RandomFlip")  # none leaves anything


CASES: tuple[Case, ...] = (
    layer("Dropout", (4,), 0.5),
    layer("SpatialDropout2D", IMAGE, 0.5),
    layer("GaussianNoise", (4,), 1.0),
    layer("GaussianDropout", (4,), 0.5),
    layer("AlphaDropout", (4,), 0.5, private=False),
    layer("SpatialDropout1D", STEPS, 0.5, private=False),
    layer("SpatialDropout3D", (2, 3, 2, 2), 0.5, private=False),
    layer("ActivityRegularization", (4,), 0.1, private=False),
    layer("Identity", (4,), private=False),
    *(augmentation(name, *args, only=only) for name, args, only in AUGMENTATION),
)
