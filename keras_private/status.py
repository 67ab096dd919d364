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
"""What each party says about itself, or why it says nothing."""


class Verdict(IntEnum):
    """Exit codes of `keras-private status`; 2 is a wrong option. If several fit, the first one here is meant."""

    SERVING = 0
    OWN_FAULT = 1
    DOWN = 3
    APART = 4
    NO_MODEL = 5
    NOT_SERVED = 6


def ask(config: ClusterConfig, owner: str) -> dict[str, Status | KerasPrivateError]:
    """Ask all parties, as the owner of that name.

    Raises:
        ConfigError: this owner's own certificate files are missing, of no use or expired; nobody was asked.
    """
    network = network_of(config, owner)

    def answer(index: int) -> Status | KerasPrivateError:
        try:
            return ask_status(config, network, index)
        except (LinkError, ClusterError) as error:
            return error

    with ThreadPoolExecutor(len(PARTY_NAMES)) as pool:  # one that hangs keeps the others' answers waiting no longer
        return dict(zip(PARTY_NAMES, pool.map(answer, range(len(PARTY_NAMES))), strict=True))


def network_of(config: ClusterConfig, owner: str) -> Network:
    """The cluster as the owner of that name sees it. Raises as `ask`."""
    role = Role("owner", owner)
    files = credentials(config, role)
    _check_own(files, role)
    return TLSNetwork(config, files)


def _check_own(files: TLSFiles, role: Role) -> None:
    client_context(files)
    if role_of(files.cert) != role:
        raise ConfigError(
            f"{files.cert} is the certificate of {role_of(files.cert)}; to ask for the status takes {role}'s"
        )
    check_dates(files.cert)


def judge(answers: Answers) -> tuple[Verdict, str]:
    """The verdict, and in a sentence what it rests on."""
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
