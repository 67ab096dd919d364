"""How a cluster is doing, from what its parties say: some lines each, and one verdict that an alarm can be built on."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum

from keras_private.config import LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import ClusterError, ConfigError, KerasPrivateError, LinkError, RefusedError, TrustError
from keras_private.net.certificates import WARNING_DAYS, check_dates
from keras_private.net.roles import Role
from keras_private.net.tls import TLSFiles, client_context, role_of
from keras_private.owner import ask_status
from keras_private.party.messages import ModelStatus, Status
from keras_private.party.network import Network, TLSNetwork, credentials

Answers = Mapping[str, Status | KerasPrivateError]
"""What each party says about itself, or why it says nothing. Those of several triples are named as in "1.server0"."""


class Verdict(IntEnum):
    """Exit codes of `keras-private status`; 2 is a wrong option. If several fit, the first one here is meant."""

    SERVING = 0
    OWN_FAULT = 1
    DOWN = 3
    APART = 4
    NO_MODEL = 5
    NOT_SERVED = 6
    DEGRADED = 7
    """Of several triples: each model is answered, but not by all."""


def ask(config: ClusterConfig, owner: str) -> dict[str, Status | KerasPrivateError]:
    """Ask all parties, as the owner of that name.

    Raises:
        ConfigError: this owner's own certificate files are missing, of no use or expired; nobody was asked.
    """
    places = [(network, index) for network in networks_of(config, owner) for index in range(len(PARTY_NAMES))]

    def answer(place: tuple[Network, int]) -> Status | KerasPrivateError:
        try:
            return ask_status(config, *place)
        except (LinkError, ClusterError) as error:
            return error

    with ThreadPoolExecutor(len(places)) as pool:  # one that hangs keeps the others' answers waiting no longer
        return dict(zip(dict(config.named()), pool.map(answer, places), strict=True))


def networks_of(config: ClusterConfig, owner: str) -> list[Network]:
    """Each triple as the owner of that name sees it. Raises as `ask`."""
    role = Role("owner", owner)
    files = credentials(config, role)
    _check_own(files, role)
    return [TLSNetwork(config.replica(number), files) for number in range(len(config.triples))]


def _check_own(files: TLSFiles, role: Role) -> None:
    client_context(files)
    if role_of(files.cert) != role:
        raise ConfigError(
            f"{files.cert} is the certificate of {role_of(files.cert)}; to ask for the status takes {role}'s"
        )
    check_dates(files.cert)


def triples(answers: Answers) -> dict[str, Answers]:
    """What each triple's parties say, by their own names; the key is its number, empty if there is one triple."""
    found: dict[str, dict[str, Status | KerasPrivateError]] = {}
    for called, answer in answers.items():
        number, _, name = called.rpartition(".")
        found.setdefault(number, {})[name] = answer
    return dict(found)


def judge(answers: Answers) -> tuple[Verdict, str]:
    """The verdict, and in a sentence what it rests on.

    A model is answered if one triple answers it: of several triples, that not all do is `DEGRADED`. Where a model is
    not answered at all, the verdict is the first one that a triple has.
    """
    parts = triples(answers)
    if len(parts) == 1:
        return _judge(*parts.values())
    verdicts = {number: _judge(part) for number, part in parts.items()}
    if all(verdict is Verdict.OWN_FAULT for verdict, _ in verdicts.values()):
        return next(iter(verdicts.values()))
    served = {number: _served(part) for number, part in parts.items()}
    known = {name for part in parts.values() for name in _known(part)}
    said = [f"replica {number}: {why}" for number, (verdict, why) in verdicts.items() if verdict is not Verdict.SERVING]
    open_ones = [number for number, (verdict, _) in verdicts.items() if verdict is Verdict.SERVING]
    for name in sorted(known):
        plans = {number: served[number][name] for number in parts if name in served[number]}
        if lacking := [number for number in open_ones if number not in plans]:
            said.append(f"replica {', '.join(lacking)}: no model {name}; the owner must share it (again)")
        if len(set(plans.values())) > 1:
            said.append(f"the replicas hold different plans of {name}; the owner must share it again")
    if not said:
        return Verdict.SERVING, f"all parties of {len(parts)} replicas are up; {_judge(parts[open_ones[0]])[1]}"
    if known and all(any(name in each for each in served.values()) for name in known):
        return Verdict.DEGRADED, f"every model is answered, but not by every replica: {'; '.join(said)}"
    bad = [verdict for verdict, _ in verdicts.values() if verdict is not Verdict.SERVING]
    return min(Verdict.DOWN if verdict is Verdict.OWN_FAULT else verdict for verdict in bad), "; ".join(said)


def _known(answers: Answers) -> set[str]:
    """The models that queries may mean at this triple: the leader decides, while it can be asked."""
    states = {name: answer for name, answer in answers.items() if isinstance(answer, Status)}
    told = [states[PARTY_NAMES[LEADER]]] if PARTY_NAMES[LEADER] in states else states.values()
    return {each.name for state in told for each in state.models if each.state not in ("loading", "retired")}


def _served(answers: Answers) -> dict[str, str]:
    """The models that this triple answers queries of, and their plans."""
    states = {name: answer for name, answer in answers.items() if isinstance(answer, Status)}
    if len(states) < len(answers) or not all(state.lanes for state in states.values()):
        return {}
    held = set.intersection(*({_upload(each) for each in state.models} for state in states.values()))
    models = [each for each in states[PARTY_NAMES[LEADER]].models if _upload(each) in held]
    return {each.name: each.digest for each in models if each.state in ("serving", "deployed")}


def _judge(answers: Answers) -> tuple[Verdict, str]:
    """Of one triple."""
    errors = {name: answer for name, answer in answers.items() if isinstance(answer, KerasPrivateError)}
    if len(errors) == len(answers) and all(_says_no(error) for error in errors.values()):
        return (
            Verdict.OWN_FAULT,
            "every party refuses us: is this our cluster.yaml, and our certificate of its authority?",
        )
    if errors:
        return Verdict.DOWN, f"{_names(errors)}: cannot be asked"
    states = {name: answer for name, answer in answers.items() if isinstance(answer, Status)}
    if apart := [name for name, state in states.items() if not state.lanes]:
        return (
            Verdict.APART,
            f"{_names(apart)}: no lane; the parties do not reach each other (yet, right after a start)",
        )
    leader = PARTY_NAMES[LEADER]
    models = [each for each in states[leader].models if each.state not in ("loading", "retired")]
    if not models:
        return Verdict.NO_MODEL, f"{leader}: no model; the owner must share it (again)"
    for name, state in states.items():
        held = {_upload(each) for each in state.models}
        if lacking := [each for each in models if _upload(each) not in held]:
            return Verdict.NO_MODEL, f"{name} does not hold {_called(lacking)}; the owner must share it again"
    if incomplete := [each for each in models if each.state == "incomplete"]:
        return Verdict.NO_MODEL, f"the parties hold different uploads of {_called(incomplete)}; share it again"
    if paused := [each for each in models if each.state == "paused"]:
        return Verdict.NOT_SERVED, f"nobody serves {_called(paused)}; queries wait until the owner does"
    return Verdict.SERVING, f"all parties are up; served: {_called(models)}"


def _upload(model: ModelStatus) -> tuple[str, int, str, str]:
    return model.name, model.version, model.owner, model.digest


def _called(models: Sequence[ModelStatus]) -> str:
    return ", ".join(f"{model.name} version {model.version}" for model in models)


def _says_no(error: KerasPrivateError) -> bool:
    return isinstance(error, RefusedError | TrustError)


def _names(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(names)


def ends_soon(answer: Status) -> str:
    """What is to be said of a party's certificate, if anything is."""
    said = _expiry(answer.expires)
    return said if "EXPIRED" in said or "RENEW" in said else ""


def line(name: str, host: str, answer: Status | KerasPrivateError) -> str:
    """What is said of one party: a line, and one for each model that it holds."""
    head = f"{name}  {host}"
    if isinstance(answer, KerasPrivateError):
        return f"{head}  DOWN  {answer}"
    count = {0: "no model", 1: "1 model"}.get(len(answer.models), f"{len(answer.models)} models")
    first = (
        f"{head}  up  {count}  served {answer.served}, waiting {answer.waiting}  "
        f"peers {', '.join(answer.peers) or 'none'}, lanes {answer.lanes}  {_expiry(answer.expires)}"
    )
    return "\n".join([first, *(f"  {_model(model)}" for model in answer.models)])


def _model(model: ModelStatus) -> str:
    clients = f", clients {model.clients}" if model.state != "held" else ""
    return (
        f"{model.name} version {model.version} of {model.owner}  {model.digest[:16]}  {model.state}  "
        f"served {model.served}, waiting {model.waiting}{clients}  {model.size / 2**20:.1f} MB"
    )


def _expiry(seconds: int | None) -> str:
    if seconds is None:
        return ""
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    left = when - datetime.datetime.now(datetime.UTC)
    if left <= datetime.timedelta():
        return f"certificate EXPIRED on {when:%Y-%m-%d}: keras-private certs"
    warning = "  RENEW IT: keras-private certs" if left.days < WARNING_DAYS else ""
    return f"certificate until {when:%Y-%m-%d} ({left.days} days){warning}"
