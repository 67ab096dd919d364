"""A text classifier that reads no mail: is it spam? The words of the SpamAssassin project's public collection.

A client turns a mail into numbers of words, which the parties look up in the model's table without learning which they
are; one block of attention over the words, and a yes or no. Which words have a number is public.

python examples/models/spam.py                      # some minutes; --rows 50 --epochs 1 for a first look
"""

from __future__ import annotations

import argparse
import re
from collections import Counter

import keras
import numpy as np
from agreement import Array, compare
from data import mails

WORDS, LENGTH, WIDTH = 2000, 32, 32
OTHER, NONE = 1, 0  # numbers of all other words, and of what comes after the end


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]+|[!$?]", text.lower())


def numbers(texts: list[list[str]], known: dict[str, int]) -> Array:
    """The first words of every mail, int32 (mails, LENGTH)."""
    found = np.full((len(texts), LENGTH), NONE, np.int32)
    for row, text in zip(found, texts, strict=True):
        start = [known.get(word, OTHER) for word in text[:LENGTH]]
        row[: len(start)] = start
    return found


def build() -> keras.Model:
    layers = keras.layers
    given = keras.Input((LENGTH,), dtype="int32", name="words")
    x = layers.Embedding(WORDS, WIDTH)(given)
    x = layers.Add()([x, layers.MultiHeadAttention(2, WIDTH // 2)(x, x)])
    x = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(x))])
    x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(given, layers.Dense(1, activation="sigmoid")(x), name="spam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400, help="test mails that are queried")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    keras.utils.set_random_seed(1)
    texts, spam = zip(*((words(text), is_spam) for text, is_spam in mails()), strict=True)
    order = np.random.default_rng(1).permutation(len(texts))
    cut = 3 * len(texts) // 4
    counts = Counter(word for place in order[:cut] for word in texts[place])
    known = {word: number for number, (word, _) in enumerate(counts.most_common(WORDS - 2), 2)}
    x, y = numbers([texts[place] for place in order], known), np.array(spam)[order]
    model = build()
    model.compile("adam", "binary_crossentropy")
    model.fit(x[:cut], y[:cut], batch_size=32, epochs=args.epochs, verbose=0)
    print(f"{model.name}: {cut:,} mails for training, {args.rows} for testing")
    x, y = x[cut : cut + args.rows], y[cut : cut + args.rows]
    compare(model, x, y, input_range=None, calibration=x[:100], activation="sigmoid", yes_or_no=True, batch=10)


if __name__ == "__main__":
    main()
