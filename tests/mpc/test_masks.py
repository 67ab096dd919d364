"""Keys are fresh on every connection, the same at both holders, and other in every lane."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from keras_private.mpc.masks import Masks, agree_masks
from keras_private.net.memory import memory_links


def agree(context: bytes) -> list[Masks]:
    links = memory_links(timeout=10.0)
    with ThreadPoolExecutor(3) as pool:
        masks = list(pool.map(lambda link: agree_masks(link, context), links))
    for link in links:
        link.close()
    return masks


def test_neighbours_hold_the_same_stream_and_nobody_else_does() -> None:
    masks = agree(b"lane 0")
    drawn = [(m.mine.take(64).tobytes(), m.next.take(64).tobytes()) for m in masks]
    for i in range(3):
        assert drawn[i][1] == drawn[(i + 1) % 3][0]
    assert len({mine for mine, _ in drawn}) == 3


def test_every_agreement_gives_other_keys() -> None:
    assert agree(b"lane 0")[0].mine.take(64).tobytes() != agree(b"lane 0")[0].mine.take(64).tobytes()


def test_masks_show_no_key() -> None:
    assert repr(agree(b"x")[0]) == "Masks(<secret>)"
