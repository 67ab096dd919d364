"""`keras-private …`: show what a model would cost, run a party, make certificates, see how a cluster is doing, and why.

keras-private plan model.keras --input-range 0 1
keras-private party --config cluster.yaml --name server0
keras-private certs --config cluster.yaml --folder certs --owner alice --client bob
keras-private storage-key > storage.key
keras-private status --config cluster.yaml
keras-private undeploy digits --config cluster.yaml
keras-private doctor --config cluster.yaml --name server0
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import keras_private
from keras_private.config import CLUSTER_FILE, PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Config = Annotated[Path, typer.Option(help="The cluster's cluster.yaml.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keras-private {keras_private.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


@app.command()
def party(
    config: Config,
    name: Annotated[str, typer.Option(help="Which party this is: server0, server1 or server2.")],
    replica: Annotated[int, typer.Option(min=0, help="Of which triple, where cluster.yaml lists several.")] = 0,
) -> None:
    """Run one party until it is told to stop (Ctrl-C, SIGTERM)."""
    from keras_private.party.__main__ import run

    if name not in PARTY_NAMES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PARTY_NAMES)}", param_hint="--name")
    raise typer.Exit(run(str(config), name, replica))


@app.command()
def plan(
    model: Annotated[Path, typer.Argument(help="A model saved as .keras. Code that it may hold is not run.")],
    input_range: Annotated[
        tuple[float, float] | None, typer.Option(help="Lowest and highest value that every input may hold.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows of the query that costs are given for.")] = 1,
    precision: Annotated[int, typer.Option(min=1, max=24, help="precision_fractional of cluster.yaml.")] = 16,
    reveal: Annotated[
        str, typer.Option(help="What clients are told: logits, probabilities, label or top5.")
    ] = "logits",
    plot: Annotated[
        Path | None, typer.Option(help="Draw where rounds, bytes and time go, into this .png, .svg or .pdf.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="An .npz file of usual inputs: one array, or one for each input by its name.")
    ] = None,
    saturate: Annotated[
        bool, typer.Option(help="Cut values off, by calibration, where else nothing is proved.")
    ] = True,
    guard: Annotated[
        bool | None, typer.Option(help="Whether overflow is noticed; by default where no range is proved.")
    ] = None,
    enforce_range: Annotated[
        bool, typer.Option("--enforce-range", help="The parties refuse inputs out of range.")
    ] = False,
    evaluation: Annotated[
        str | None, typer.Option(help="Who is told what an evaluation comes to: client or owner; by default nobody.")
    ] = None,
    exact_truncation: Annotated[
        bool, typer.Option("--exact-truncation", help="truncation: exact of cluster.yaml.")
    ] = False,
    keras: Annotated[str, typer.Option(help="What loads the model: keras or tf_keras.")] = "keras",
    imports: Annotated[
        list[str] | None, typer.Option("--import", help="Your module with layers and lowerings; it is run.")
    ] = None,
) -> None:
    """Show what parties would compute of a model and what that costs, or what could not be shared. Needs no cluster.

    Exit code 1 if the model cannot be shared, or a lowering of your own does not do what its layer does.
    """
    import importlib
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_private.calibration import load as load_data
    from keras_private.inspection import check, load

    if keras not in ("keras", "tf_keras"):
        raise typer.BadParameter(f"{keras!r} is neither keras nor tf_keras", param_hint="--keras")
    sys.path.insert(0, os.getcwd())  # as `python -m` does, for --import
    for name in imports or []:
        importlib.import_module(name)
    data = None if calibration is None else load_data(calibration)
    report = check(
        load(model, keras),
        input_range,
        batch=batch,
        precision=precision,
        reveal=reveal,
        calibration=data,
        saturate=saturate,
        guard=guard,
        enforce_range=enforce_range,
        evaluation=evaluation,
        exact_truncation=exact_truncation,
    )
    typer.echo(report)
    if plot is not None and report.plan is not None:
        from keras_private.plotting import plot_plan

        plot_plan(report.plan, plot, batch=batch, title=report.model)
    raise typer.Exit(0 if report.ok else 1)


def _revoke(folder: Path, authority: Path, names: list[str]) -> None:
    from keras_private.net.certificates import hand_out_list
    from keras_private.net.certificates import revoke as take_back
    from keras_private.net.revocation import CRL

    for name in names:
        file = Path(name) if Path(name).is_file() else folder / name / f"{name}.crt"
        count = take_back(authority, "" if file == Path(name) else name, [file] if file.is_file() else [])
        typer.echo(f"{name}: {count} certificates revoked" if count else f"{name}: was revoked already")
    hand_out_list(authority, [each for each in folder.iterdir() if each.is_dir() and each != authority])
    typer.echo(
        f"\nCopy {authority / CRL} to every participant, above all to the three parties, where tls.crl in cluster.yaml "
        "says.\nParties take it over within seconds and cut off whom it names."
    )


@app.command()
def certs(
    config: Config = Path(CLUSTER_FILE),
    folder: Annotated[Path, typer.Option(help="Where the folders are made.")] = Path("certs"),
    owner: Annotated[list[str] | None, typer.Option(help="An owner's name; may be given several times.")] = None,
    client: Annotated[list[str] | None, typer.Option(help="A client's name; may be given several times.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificates are valid.")] = 365,
    renew: Annotated[bool, typer.Option(help="Renew those that are still good, too.")] = False,
    revoke: Annotated[
        list[str] | None,
        typer.Option(help="Take back all certificates of this participant, or one given as a file; may be repeated."),
    ] = None,
) -> None:
    """Make an authority, and a folder with a certificate for every participant, ready to be copied to their hosts.

    What is there and good stays as it is; what expires within 30 days is made anew.
    """
    from keras_private.net.certificates import (
        CA_CERT,
        CA_KEY,
        create_authority,
        expires_at,
        expiry_warning,
        hand_out_list,
        issue,
    )
    from keras_private.net.revocation import CRL, Revoked, load_revoked
    from keras_private.net.roles import Role
    from keras_private.net.tls import load_certificate

    cluster = ClusterConfig.load(config)
    hosts = {name: sorted({triple[name].address[0] for triple in cluster.triples}) for name in PARTY_NAMES}
    roles = [Role("party", name) for name in PARTY_NAMES]
    roles += [Role("owner", name) for name in owner or ["owner"]]
    roles += [Role("client", name) for name in client or ["client"]]
    if len({role.name.lower() for role in roles} | {"authority"}) != len(roles) + 1:
        raise typer.BadParameter("every participant needs a name of their own, other than 'authority'")
    authority = folder / "authority"
    if revoke:
        _revoke(folder, authority, revoke)
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (authority / CA_KEY).exists():
        create_authority(authority)
    crl = authority / CRL
    revoked = load_revoked(crl, authority / CA_CERT) if crl.exists() else Revoked()
    for role in roles:
        place = folder / role.name
        cert = place / f"{role.name}.crt"
        made = renew or not cert.exists() or expiry_warning(cert) is not None
        if not made and load_certificate(cert).serial_number in revoked.serials:
            typer.echo(f"{role!s:24} {place}/  REVOKED: --renew makes a new one")
            continue
        if made:
            place.mkdir(mode=0o700, exist_ok=True)
            issue(place, role, hosts.get(role.name, ()), days, authority)
        typer.echo(f"{role!s:24} {place}/  expires {expires_at(cert):%Y-%m-%d}{'' if made else '  (kept)'}")
    if warning := expiry_warning(authority / CA_CERT):
        typer.echo(warning, err=True)
    typer.echo(
        f"\nCopy each folder to its participant's host, as {folder.name}/<name>/ beside cluster.yaml, which says:"
    )
    stem = f"{folder.name}/{{name}}/"
    hand_out_list(authority, [folder / role.name for role in roles])
    files = {"ca": CA_CERT, "cert": "{name}.crt", "key": "{name}.key", "crl": CRL}
    fields = ", ".join(f'{field}: "{stem}{file}"' for field, file in files.items())
    typer.echo(f"  tls: {{{fields}}}")
    typer.echo(f"Keep {authority}/ to yourself: whoever has ca.key can become anyone.")


@app.command("storage-key")
def storage_key() -> None:
    """Print a new key for a party's storage: keras-private storage-key > storage.key; chmod 600 storage.key."""
    from keras_private.party.storage.keys import new_key

    typer.echo(new_key())


@app.command()
def undeploy(
    name: Annotated[str, typer.Argument(help="What the model is called.")],
    config: Config = Path(CLUSTER_FILE),
    owner: Annotated[str, typer.Option(help="Whose it is: the name in an owner's certificate.")] = "owner",
    keep: Annotated[
        bool, typer.Option("--keep", help="The parties keep their shares, for the process that shared it.")
    ] = False,
) -> None:
    """Have the parties serve a deployed model no more, and forget their shares of it."""
    from keras_private.owner import undeploy
    from keras_private.status import networks_of

    cluster = ClusterConfig.load(config)
    undeploy(cluster, networks_of(cluster, owner), name, keep=keep)
    typer.echo(f"{name} is not served any more" + (", and kept" if keep else ", and gone"))


@app.command()
def status(
    config: Config = Path(CLUSTER_FILE),
    owner: Annotated[str, typer.Option(help="Who asks: the name in an owner's certificate.")] = "owner",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, with rates, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks of --watch.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object a line.")] = False,
) -> None:
    """Say which parties are up, what they hold and do, and when their certificates expire.

    Exit codes: 0 all are up and the model is served; 1 our own fault (cluster.yaml, certificate), nobody was asked or
    nobody accepts us; 2 a wrong option; 3 a party cannot be asked; 4 the parties do not reach each other; 5 no model,
    or different ones; 6 nobody serves the model; 7 every model is answered, but not by every triple of parties.
    """
    from keras_private.status import Verdict, ask, judge, line, networks_of

    cluster = ClusterConfig.load(config)
    if watch:
        from keras_private.watch import Watch, follow

        raise typer.Exit(follow(Watch(cluster, networks_of(cluster, owner), every), as_json))
    answers = ask(cluster, owner)
    if as_json:
        from keras_private.watch import to_json

        typer.echo(json.dumps(to_json(cluster, answers)))
        raise typer.Exit(judge(answers)[0])
    for name, party in cluster.named():
        typer.echo(line(name, party.host, answers[name]))
    verdict, sentence = judge(answers)
    if verdict is not Verdict.SERVING:
        typer.echo(f"keras-private: {sentence}", err=True)
    raise typer.Exit(verdict)


@app.command()
def doctor(
    config: Config = Path(CLUSTER_FILE),
    name: Annotated[
        str, typer.Option(help="Who: server0, server1, server2, or an owner's or client's name.")
    ] = "owner",
    replica: Annotated[int, typer.Option(min=0, help="Of a party: of which triple, where there are several.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Look at everything that has to be right for one participant, on their own host, and say what to do.

    Files, certificates, and how the parties are reached; of a party its host too. Exit codes: 0 all is good; 1 there
    are warnings; 2 something is wrong (or an option).
    """
    from keras_private.doctor import Level, examine, exit_code

    found = examine(config, name, replica)
    if as_json:
        typer.echo(json.dumps({"exit_code": exit_code(found), "findings": [asdict(each) for each in found]}))
        raise typer.Exit(exit_code(found))
    marks = {Level.GOOD: "  ok  ", Level.WARNING: " warn ", Level.WRONG: "WRONG "}
    for each in found:
        typer.echo(f"[{marks[each.level]}] {each.about}: {each.says}")
        if each.do:
            typer.echo(f"{'':9}→ {each.do}")
    raise typer.Exit(exit_code(found))


def main() -> None:
    """The command's entry point: known errors in one line."""
    try:
        app()
    except KerasPrivateError as error:
        sys.stderr.write(f"keras-private: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
