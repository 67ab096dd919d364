"""Attention of all kinds, with public masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case

BOTH = ("keras", "tf_keras")
WORDS = (5, 6)
EXPORTED = {"GroupedQueryAttention": "GroupQueryAttention"}


def _dense(name: str, *, private: bool = True, only: str = "", call: Any = None, **kwargs: Any) -> Case:
    """Queries of some places, keys and values of others."""

    def build(keras: Any, x: Any) -> Any:
        made = getattr(keras.layers, name)(**kwargs)([x, x[:, 1:], x[:, 1:] * 0.5], **(call or {}))
        return keras.layers.Concatenate()(list(made)) if isinstance(made, tuple | list) else made

    return Case(f"{name} {kwargs} {call or ''}", WORDS, build, (only,) if only else BOTH, (name,), private)


def _heads(
    title: str,
    *args: Any,
    name: str = "MultiHeadAttention",
    shape: tuple[int, ...] = WORDS,
    private: bool = True,
    only: str = "",
    others: bool = False,
    call: Any = None,
    **kwargs: Any,
) -> Case:
    def build(keras: Any, x: Any) -> Any:
        value = x[:, :3] * 0.5 if others else x
        more = {"key": x[:, 1:4]} if others else {}
        made = getattr(keras.layers, EXPORTED.get(name, name))(*args, **kwargs)(x, value, **more, **(call or {}))
        if not isinstance(made, tuple | list):
            return made
        return keras.layers.Concatenate()([keras.layers.Flatten()(part) for part in made])

    return Case(f"{name} {title}", shape, build, (only,) if only else BOTH, (name,), private)


MASK = np.array([[1, 0, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]], bool)
OF_HEADS = np.stack([MASK, MASK.T])[None]

CASES: tuple[Case, ...] = (
    _dense("Attention", private=False),
    _dense("Attention", use_scale=True, private=False),
    _dense("Attention", score_mode="concat", use_scale=True, private=False),
    _dense("Attention", score_mode="concat", private=False, call={"use_causal_mask": True}),
    _dense("Attention", private=False, call={"use_causal_mask": True, "return_attention_scores": True}),
    _dense("AdditiveAttention", private=False),
    _dense("AdditiveAttention", use_scale=False, private=False, call={"use_causal_mask": True}),
    _heads("of two heads", 2, 3, private=False),
    _heads("without bias, other values", 2, 3, value_dim=4, use_bias=False, others=True, private=False),
    _heads("of another output shape", 2, 3, output_shape=(2, 4), dropout=0.3, private=False),
    _heads("causal", 2, 3, call={"use_causal_mask": True}),
    _heads("with scores", 2, 3, call={"return_attention_scores": True, "use_causal_mask": True}, private=False),
    _heads("with a mask", 2, 3, call={"attention_mask": MASK[None]}, private=False),
    _heads(
        "with a mask of heads",
        2,
        3,
        call={"attention_mask": np.stack([MASK, MASK.T])[None]},
        only="keras",
        private=False,
    ),
    _heads("along one of two axes", 2, 3, attention_axes=(2,), shape=(2, 3, 4), private=False),
    _heads("along two axes", 2, 3, shape=(2, 3, 4), private=False),
    _heads("with a gate", 2, 3, use_gate=True, only="keras", private=False),
    _heads("with a window", 2, 3, sliding_window=2, only="keras", private=False),
    _heads("of heads in pairs", 3, 4, 2, name="GroupedQueryAttention", only="keras"),
    _heads(
        "causal",
        *(3, 4, 2),
        name="GroupedQueryAttention",
        only="keras",
        use_gate=True,
        private=False,
        call={"use_causal_mask": True, "return_attention_scores": True},
    ),
)
