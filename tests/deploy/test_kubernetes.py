"""The Kubernetes manifests: valid by the published schemas, and in agreement with themselves and the package."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.x509 import DNSName, SubjectAlternativeName
from kubernetes_validate import validate

from keras_private.cli import certs
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.net.roles import Role
from keras_private.net.tls import load_certificate, role_of
from keras_private.party.storage.keys import load_key, new_key

from . import DEPLOY, METRICS_PORT, PARTY_PORT, ROOT, STOP_S, USER, needed_bytes, options_of

FOLDER = DEPLOY / "kubernetes"
RELEASES = ("1.31", "1.34", "1.37")
"""Of Kubernetes. 1.31: the first in which a pod's index is a label for certain (`PodIndexLabel`)."""

Resource = dict[str, Any]


def written() -> list[Resource]:
    """The resources as they stand in the files."""
    listed = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((FOLDER / "base" / name).read_text())]


def of_kind(resources: list[Resource], kind: str, name: str = "party") -> Resource:
    (found,) = (each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Resource]]:
    """What `kubectl apply -k` sends for each of the three operators, with certificates and keys as they make them."""
    folder = copied(tmp_path_factory.mktemp("one"), "base")
    return rendered(folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Resource]]:
    """The same with two triples: each operator names the component, as the page says."""
    folder = copied(tmp_path_factory.mktemp("two"), "two-replicas")
    for name in PARTY_NAMES:
        with (folder / name / "kustomization.yaml").open("a") as file:
            file.write("components: [../two-replicas]\n")
    return rendered(folder)


def copied(place: Path, cluster: str) -> Path:
    """The manifests, and certificates for the cluster of this folder's cluster.yaml."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = place / "kubernetes"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("certs", "storage.key"))
    certs(
        config=folder / cluster / "cluster.yaml", folder=folder / "certs", owner=None, client=None, days=1, renew=False
    )
    return folder


def rendered(folder: Path) -> dict[str, list[Resource]]:
    found = {}
    for name in PARTY_NAMES:
        shutil.copytree(folder / "certs" / name, folder / name / "certs")
        (folder / name / "storage.key").write_text(new_key())
        command = ["kubectl", "kustomize", str(folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = list(yaml.safe_load_all(done.stdout))
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_every_file_is_valid(release: str) -> None:
    for resource in written():
        validate(resource, release, strict=True)


def test_a_mistake_would_be_found() -> None:
    resource = of_kind(written(), "StatefulSet")
    resource["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(Exception, match="readinesProbe"):
        validate(resource, RELEASES[-1], strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_applied_is_valid(operators: dict[str, list[Resource]], release: str) -> None:
    for resources in operators.values():
        for resource in resources:
            validate(resource, release, strict=True)


def test_no_secret_is_in_the_repository() -> None:
    assert not [each for each in written() if each["kind"] == "Secret"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = ["server0/certs/server0.key", "server0/storage.key"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.stdout.split() == names


def test_the_three_have_nothing_in_common(operators: dict[str, list[Resource]]) -> None:
    """A namespace each, of which everything is part, and keys each."""
    for name, resources in operators.items():
        namespace = f"keras-private-{name}"
        assert of_kind(resources, "Namespace", namespace)
        others = [each for each in resources if each["kind"] != "Namespace"]
        assert {each["metadata"]["namespace"] for each in others} == {namespace}
        assert of_kind(resources, "ConfigMap")["data"] == {"name": name}
    keys = [of_kind(resources, "Secret", "storage-key")["data"]["storage.key"] for resources in operators.values()]
    assert len(set(keys)) == 3


def mounted(pod: Resource, resources: list[Resource], root: Path) -> None:
    """Write what the pod's party sees of ConfigMaps and Secrets, as the kubelet does."""
    sources = {each["name"]: each for each in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        source = sources.get(mount["name"], {})
        folder = root / mount["mountPath"].removeprefix("/")
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in source:
            for name, text in of_kind(resources, "ConfigMap", source["configMap"]["name"])["data"].items():
                (folder / name).write_text(text)
        if "secret" in source:
            for name, text in of_kind(resources, "Secret", source["secret"]["secretName"])["data"].items():
                (folder / name).write_bytes(base64.b64decode(text))
                (folder / name).chmod(0o400)


@pytest.mark.parametrize("name", PARTY_NAMES)
def test_the_party_finds_what_it_is_told_of(operators: dict[str, list[Resource]], name: str, tmp_path: Path) -> None:
    """Its own command line, configuration, certificate and storage key, from where the pod mounts them."""
    resources = operators[name]
    pod = of_kind(resources, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted(pod, resources, tmp_path)
    values = {
        each["name"]: of_kind(resources, "ConfigMap", each["valueFrom"]["configMapKeyRef"]["name"])["data"]["name"]
        for each in container["env"]
        if "configMapKeyRef" in each["valueFrom"]
    }
    assert values == {"PARTY": name}
    options = told(container, name, 1)
    assert (options["name"], options["replica"]) == (name, 1)
    config = ClusterConfig.load(tmp_path / str(options["config"]).removeprefix("/"))
    assert config.tls is not None
    assert role_of(tmp_path / str(config.tls.for_name(name).cert).removeprefix("/")) == Role("party", name)
    assert config.storage is not None
    assert config.storage.key_file is not None
    key_file = tmp_path / str(config.storage.key_file).removeprefix("/")
    assert load_key(config.storage.model_copy(update={"key_file": key_file}))
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert any(str(config.storage.path).startswith(f"{place}/") for place in writable)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    index = PARTY_NAMES.index(name)
    assert ports == {"party": PARTY_PORT, "metrics": METRICS_PORT}
    assert config.party(index).listen_address == ("::", PARTY_PORT)
    assert config.metrics_address(index) == ("0.0.0.0", METRICS_PORT)
    assert pod["terminationGracePeriodSeconds"] > config.limits.drain_s + STOP_S
    memory = container["resources"]["limits"]["memory"]
    assert memory == container["resources"]["requests"]["memory"]
    assert int(memory.removesuffix("Gi")) * 2**30 >= needed_bytes(config.limits)


def told(container: Resource, name: str, index: int) -> dict[str, object]:
    """What the command line of an operator's pod comes to."""
    (replica,) = (each["valueFrom"] for each in container["env"] if each["name"] == "REPLICA")
    assert replica == {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    words = [word.replace("$(PARTY)", name).replace("$(REPLICA)", str(index)) for word in container["args"]]
    return options_of(words)


def test_two_replicas_are_two_pods_an_operator(
    pairs: dict[str, list[Resource]], operators: dict[str, list[Resource]], tmp_path: Path
) -> None:
    """Each pod is the party of its own triple, reached through a Service of its own; all else is as with one."""
    for name, resources in pairs.items():
        for release in RELEASES:
            for resource in resources:
                validate(resource, release, strict=True)
        stateful = of_kind(resources, "StatefulSet")["spec"]
        assert stateful["replicas"] == 2
        services = [of_kind(resources, "Service", f"party-{index}") for index in range(2)]
        assert [each["spec"]["selector"].pop("apps.kubernetes.io/pod-index") for each in services] == ["0", "1"]
        assert services[0]["spec"] == services[1]["spec"]
        assert {each["metadata"]["namespace"] for each in services} == {f"keras-private-{name}"}
        mounted(stateful["template"]["spec"], resources, tmp_path / name)
        config = ClusterConfig.load(tmp_path / name / "etc/keras-private/cluster.yaml")
        assert len(config.triples) == stateful["replicas"]
        index = PARTY_NAMES.index(name)
        certificate = load_certificate(tmp_path / name / "run/secrets/tls/tls.crt")
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        for number in range(2):
            options = told(stateful["template"]["spec"]["containers"][0], name, number)
            alone = config.replica(int(str(options["replica"])))
            assert alone.party(index).host == config.triples[number][name].host
            assert alone.party(index).listen_address == ("::", PARTY_PORT)
            assert alone.party(index).address[0] in names.get_values_for_type(DNSName)
        extra = [each for each in resources if each["metadata"]["name"] == "party-1"]
        alike = [each for each in resources if each not in extra and each["kind"] not in ("Secret", "Service")]
        before = [each for each in operators[name] if each["kind"] not in ("Secret", "Service")]
        stateful["replicas"] = 1
        of_kind(resources, "ConfigMap", "cluster")["data"] = of_kind(before, "ConfigMap", "cluster")["data"]
        assert alike == before


def test_a_pod_may_do_nothing_but_its_work() -> None:
    pod = of_kind(written(), "StatefulSet")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == USER
    assert security["fsGroupChangePolicy"] == "OnRootMismatch"  # else what a party keeps is opened to the group
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"] + pod["initContainers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    for volume in pod["volumes"]:
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440
    (kernels,) = pod["initContainers"]
    assert [mount["name"] for mount in kernels["volumeMounts"]] == ["kernels"]  # no secret for a compiler
    (namespace,) = (each for each in written() if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_probes_ask_for_what_they_are_meant_for() -> None:
    (container,) = of_kind(written(), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {probe: each["path"] for probe, each in paths.items()} == {
        "startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"
    }  # fmt: skip
    assert {each["port"] for each in paths.values()} == {"metrics"}


def test_parties_find_each_other_before_they_are_ready() -> None:
    services = [each["spec"] for each in written() if each["kind"] == "Service"]
    assert len(services) == 2
    labels = of_kind(written(), "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for service in services:
        assert service["publishNotReadyAddresses"] is True
        assert service["ports"] == [{"name": "party", "port": PARTY_PORT, "targetPort": "party"}]
        assert labels.items() <= service["selector"].items()
    outside = of_kind(written(), "Service", "party-0")["spec"]
    assert outside["externalTrafficPolicy"] == "Local"  # callers are told apart by their addresses
    assert outside["selector"]["apps.kubernetes.io/pod-index"] == "0"


def test_the_network_lets_in_who_is_meant_and_nobody_else() -> None:
    nothing, party = (of_kind(written(), "NetworkPolicy", name)["spec"] for name in ("nothing", "party"))
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    everywhere = [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
    callers, monitoring = party["ingress"]
    assert callers == {"from": everywhere, "ports": [{"protocol": "TCP", "port": "party"}]}
    assert monitoring["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    assert all("ipBlock" not in each for each in monitoring["from"])
    names, parties = party["egress"]
    assert {each["port"] for each in names["ports"]} == {53}
    assert parties == {"to": everywhere, "ports": [{"protocol": "TCP", "port": PARTY_PORT}]}


def test_one_selection_fits_all() -> None:
    resources = written()
    labels = of_kind(resources, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert of_kind(resources, "StatefulSet")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(resources, "StatefulSet")["spec"]["serviceName"] == of_kind(resources, "Service")["metadata"]["name"]
    budget = of_kind(resources, "PodDisruptionBudget")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert of_kind(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
