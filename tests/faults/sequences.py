"""What may befall the world, as hypothesis strategies. A sequence is JSON, so what broke can be kept and replayed.

[pause in ms, "kill" | "term" | "start" | "pause" | "resume", who]
[pause in ms, "link", which, "cut" | "half_close" | "stall" | "delay" | "refuse" | "duplicate" | …, {…}]
[pause in ms, "share", version]
[pause in ms, "query" | "ticket" | "evaluate", client, {rows, retries}]
[pause in ms, "cancel", client]
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from keras_private.config import PARTY_NAMES
from tests.faults.proxy import DOWN, TRICKS, UP
from tests.faults.versions import ROWS, VERSIONS
from tests.faults.world import CLIENTS, LINKS, OWNER

Sequence = list[list[Any]]

_PAUSES = st.sampled_from([0, 0, 0, 5, 20, 50, 100, 300, 1000])
_WAYS = st.sampled_from([UP, DOWN])
_CLIENTS = st.sampled_from(CLIENTS)
_RETRIES = st.sampled_from([0, 0, 1, 2, 5])


def _asking() -> st.SearchStrategy[list[Any]]:
    asked = st.fixed_dictionaries({"rows": st.sampled_from([1, 1, 3, 30, 128]), "retries": _RETRIES})
    queries = st.tuples(st.sampled_from(["query", "ticket"]), _CLIENTS, asked)
    evaluated = st.fixed_dictionaries({"rows": st.just(ROWS), "retries": _RETRIES, "batch": st.sampled_from([7, 20])})
    return st.one_of(queries, queries, queries, st.tuples(st.just("evaluate"), _CLIENTS, evaluated)).map(list)


def _breaking() -> st.SearchStrategy[list[Any]]:
    links = st.tuples(st.just("link"), st.sampled_from(LINKS))
    plain = st.tuples(st.sampled_from(["cut", "cut", "refuse"]), st.just({}))
    ways = st.tuples(st.sampled_from(["half_close", "stall", *TRICKS]), st.fixed_dictionaries({"way": _WAYS}).map(dict))
    slow = st.tuples(st.just("delay"), st.fixed_dictionaries({"ms": st.sampled_from([1, 20, 200])}))
    return st.tuples(links, st.one_of(plain, ways, slow)).map(lambda pair: [*pair[0], *pair[1]])


def _befalling() -> st.SearchStrategy[list[Any]]:
    """What a process suffers. Parties have supervisors: who died is soon started again, in most sequences."""
    parties, others = st.sampled_from(PARTY_NAMES), st.sampled_from([*CLIENTS, OWNER])
    return st.one_of(
        st.tuples(st.sampled_from(["kill", "term", "pause"]), parties),
        st.tuples(st.sampled_from(["start", "resume"]), parties),
        st.tuples(st.sampled_from(["kill", "pause", "resume", "start"]), others),
    ).map(list)


def sequences(longest: int = 16) -> st.SearchStrategy[Sequence]:
    """Sequences in which about half of the operations are questions, so that there is something to go wrong."""
    sharing = st.tuples(st.just("share"), st.integers(0, VERSIONS - 1)).map(list)
    taking_back = st.tuples(st.just("cancel"), _CLIENTS).map(list)
    ask, break_, befall = _asking(), _breaking(), _befalling()
    operation = st.one_of(ask, ask, ask, break_, break_, befall, sharing, taking_back)
    return st.lists(st.tuples(_PAUSES, operation).map(lambda pair: [pair[0], *pair[1]]), min_size=4, max_size=longest)
