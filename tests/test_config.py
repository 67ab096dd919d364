"""cluster.yaml: every mistake is named, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keras_private.config import PARTY_NAMES, ClusterConfig, PartyConfig, TLSConfig, parse_host
from keras_private.errors import ConfigError

GOOD = """
cluster: demo
parties:
  server0: {host: localhost:4000, auto_managed: true}
  server1: {host: localhost:4001, auto_managed: true}
  server2: {host: localhost:4002, auto_managed: true}
precision_fractional: 16
limits: {max_batch: 128, queue: 256, request_mb: 64, timeout_s: 30}
"""


def load(tmp_path: Path, text: str) -> ClusterConfig:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return ClusterConfig.load(path)


def test_a_whole_file(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.cluster == "demo"
    assert [party.address for party in config.parties.values()] == [("localhost", 4000 + i) for i in range(3)]
    assert config.limits.max_batch == 128
    assert config.limits.request_bytes == 64 * 2**20
    assert config.is_loopback
    assert config.tls is None


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.split("precision")[0])
    assert config.precision_fractional == 16
    assert config.limits.timeout_s == 30
    assert not ClusterConfig.of_hosts(["localhost:1", "localhost:2", "localhost:3"]).party(0).auto_managed


def test_json_reads_back(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "tls: {ca: a.crt, cert: 'x/{name}.crt', key: '/k/{name}.key'}\n")
    assert ClusterConfig.parse(json.loads(config.to_json())) == config
    assert "\n" not in config.to_json()


def test_certificate_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "tls: {ca: certs/ca.crt, cert: 'certs/{name}.crt', key: '/keys/{name}.key'}\n")
    assert config.tls is not None
    assert config.tls.for_name("server1") == TLSConfig(
        ca=tmp_path / "certs/ca.crt", cert=tmp_path / "certs/server1.crt", key=Path("/keys/server1.key")
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("limits: {max_batch", "limits: {max_bach", ["limits.max_bach", "did you mean 'max_batch'"]),
        ("cluster: demo", "cluser: demo", ["cluser", "did you mean 'cluster'"]),
        ("cluster: demo", "colour: blue", ["colour", "known are cluster, parties"]),
        ("cluster: demo", "cluster: 'a b'", ["cluster", "'a b' is not a name"]),
        (
            "auto_managed: true}\n  server1",
            "auto_manged: true}\n  server1",
            ["parties.server0.auto_manged", "auto_managed"],
        ),
        ("  server2: {host: localhost:4002, auto_managed: true}\n", "", ["parties", "exactly three", "2"]),
        ("server2:", "server3:", ["parties", "unknown party 'server3'"]),
        ("server0: {host: localhost:4000", "server1x: {host: localhost:4000", ["parties", "did you mean 'server1'"]),
        ("localhost:4001", "localhost:4000", ["parties.server1.host", "localhost:4000", "server0"]),
        ("localhost:4001", "127.0.0.1:4000", ["parties.server1.host", "server0"]),
        ("localhost:4001", "localhost", ["parties.server1.host", "'localhost' is not 'host:port'"]),
        ("localhost:4001", "localhost:99999", ["parties.server1.host", "1 to 65535"]),
        ("localhost:4001", "'http://localhost:4001'", ["parties.server1.host", "http"]),
        ("host: localhost:4001, ", "", ["parties.server1.host", "is missing"]),
        ("{host: localhost:4001, auto_managed: true}", "localhost:4001", ["parties.server1", "not a mapping"]),
        (
            "{host: localhost:4001, auto_managed: true}",
            "{host: 10.0.0.5:4001}",
            ["tls", "server1", "keras-private certs"],
        ),
        ("{host: localhost:4001", "{bind: here, host: localhost:4001", ["parties.server1.bind", "'here' is not an IP"]),
        ("{host: localhost:4001", "{bind: 'a.org:1', host: localhost:4001", ["parties.server1.bind", "'0.0.0.0:4000'"]),
        ("{host: localhost:4001", "{bind: '0.0.0.0:0', host: localhost:4001", ["parties.server1.bind", "1 to 65535"]),
        ("{host: localhost:4001", "{bind: '[::]:x', host: localhost:4001", ["parties.server1.bind", "not an IP"]),
        ("localhost:4001", "10.0.0.5:4001", ["parties.server1.auto_managed", "not on this machine"]),
        ("queue: 256", "queue: 0", ["limits.queue", "0 is out of range"]),
        ("queue: 256", "queue: many", ["limits.queue", "'many' is not a whole number"]),
        ("timeout_s: 30", "timeout_s: .nan", ["limits.timeout_s", "not a number"]),
        ("precision_fractional: 16", "precision_fractional: 60", ["precision_fractional", "60 is out of range"]),
        ("precision_fractional: 16", "precision_fractional: 16\nprecision_fractional: 20", ["appears twice", "line 8"]),
        ("precision_fractional: 16", "tls: {ca: a, cert: b}", ["tls.key", "is missing"]),
        (
            "auto_managed: true}\n  server1",
            "auto_managed: maybe}\n  server1",
            ["server0.auto_managed", "neither true nor"],
        ),
        (GOOD[: GOOD.index("precision")], "parties: 3\n", ["parties", "must name three parties"]),
        ("cluster: demo", "cluster: [", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert "cluster.yaml" in message
    assert "pydantic" not in message
    for word in words:
        assert word in message


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace("queue: 256", "queue: -1").replace("max_batch: 128", "max_bach: 128"))
    assert "limits.queue" in str(caught.value)
    assert "limits.max_bach" in str(caught.value)


def test_order_matters(tmp_path: Path) -> None:
    text = GOOD.replace("server0", "other").replace("server1", "server0").replace("other", "server1")
    with pytest.raises(ConfigError, match="in order"):
        load(tmp_path, text)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n"])
def test_something_else_than_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must be a mapping"):
        load(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        ClusterConfig.load(tmp_path / "nothing.yaml")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path, GOOD + "\nx: !!python/object/apply:os.getcwd []\n")


def test_not_three_workers() -> None:
    with pytest.raises(ConfigError, match="exactly three"):
        ClusterConfig.of_hosts(["localhost:4000", "localhost:4001"])


def test_ipv6() -> None:
    assert parse_host("[::1]:4000") == ("::1", 4000)
    assert ClusterConfig.of_hosts(["[::1]:1", "[::1]:2", "[::1]:3"]).is_loopback


@pytest.mark.parametrize(
    ("host", "bind", "listens"),
    [
        ("localhost:4000", None, ("localhost", 4000)),
        ("127.0.0.1:4000", None, ("127.0.0.1", 4000)),
        ("[::1]:4000", None, ("::1", 4000)),
        ("10.0.0.5:4000", None, ("::", 4000)),
        ("party0.example.org:4000", None, ("::", 4000)),  # whatever that name resolves to on its own host
        ("party0.example.org:4000", "10.0.0.5", ("10.0.0.5", 4000)),
        ("party0.example.org:4000", "10.0.0.5:5000", ("10.0.0.5", 5000)),
        ("party0.example.org:4000", "0.0.0.0:5000", ("0.0.0.0", 5000)),
        ("party0.example.org:4000", "::", ("::", 4000)),
        ("party0.example.org:4000", "[::]:5000", ("::", 5000)),
        ("party0.example.org:4000", "[2001:db8::1]", ("2001:db8::1", 4000)),
        ("party0.example.org:4000", "127.0.0.1:5000", ("127.0.0.1", 5000)),  # behind a tunnel, say
        ("localhost:4000", "0.0.0.0", ("0.0.0.0", 4000)),
    ],
)
def test_where_a_party_listens(host: str, bind: str | None, listens: tuple[str, int]) -> None:
    assert PartyConfig(host=host, bind=bind).listen_address == listens


@pytest.mark.parametrize("text", ["limits: {queue: true}", "limits: {timeout_s: true}", "precision_fractional: true"])
def test_true_is_no_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.yaml"
    hosts = "".join(f"  {name}: {{host: 'localhost:{port}'}}\n" for port, name in enumerate(PARTY_NAMES, 4000))
    path.write_text(f"parties:\n{hosts}{text}\n")
    with pytest.raises(ConfigError, match="true is not a number"):
        ClusterConfig.load(path)


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "parties: {[a]: 1}\n", "{a: 1}: 2\n"])
def test_a_key_that_is_no_word(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="a key must be a word"):
        ClusterConfig.load(path)


def test_truncation_is_one_of_two(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).truncation == "probabilistic"
    assert load(tmp_path, GOOD + "truncation: exact\n").truncation == "exact"
    with pytest.raises(ConfigError, match="truncation: 'floor' is none of 'probabilistic', 'exact'"):
        load(tmp_path, GOOD + "truncation: floor\n")


def test_where_metrics_are_shown(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).metrics_address(0) is None
    distant = 'tls: {ca: "a", cert: "b", key: "c"}\nmetrics: {host: "localhost:9100"}\n' + GOOD.replace(
        ", auto_managed: true", ""
    )
    for number in range(3):
        distant = distant.replace(f"localhost:400{number}", f"party{number}.example.org:4000")
    assert {load(tmp_path, distant).metrics_address(index) for index in range(3)} == {("127.0.0.1", 9100)}
    own = distant.replace("example.org:4000}", 'example.org:4000, metrics: "[::]:9200"}', 1)
    config = load(tmp_path, own)
    assert [config.metrics_address(index) for index in (0, 1)] == [("::", 9200), ("127.0.0.1", 9100)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            'metrics: {host: "127.0.0.1:9100"}',
            "metrics.host: server0 and server1 are on one host and cannot share a port; give each its own, as in "
            "parties.server1.metrics: 'localhost:9101'",
        ),
        ("metrics: {host: localhost}", "metrics.host: 'localhost' is not 'host:port'"),
        ('metrics: {host: "metrics.example.org:9100"}', "is not an IP address of this host"),
        ("metrics: {port: 9100}", "metrics.port: is not a known field; did you mean 'host'? (known are host)"),
    ],
)
def test_mistakes_about_metrics(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"{GOOD}{more}\n")
    assert message in str(error.value)


TRIPLES = """
parties:
- {server0: {host: "localhost:4000"}, server1: {host: "localhost:4001"}, server2: {host: "localhost:4002"}}
- {server0: {host: "localhost:4010"}, server1: {host: "localhost:4011"}, server2: {host: "localhost:4012"}}
"""


def test_each_triple_may_have_folders_of_its_own(tmp_path: Path) -> None:
    storage = "\nstorage: {path: 'kept/{replica}/{name}', key_file: '{name}-{replica}.key'}"
    for text, number in ((TRIPLES, 0), (TRIPLES, 1), (GOOD, 0)):
        found = load(tmp_path, text + storage).replica(number).storage
        assert found is not None
        own = found.for_name("server2")
        assert own.path == tmp_path / "kept" / str(number) / "server2"
        assert own.key_file == tmp_path / f"server2-{number}.key"


def test_several_triples(tmp_path: Path) -> None:
    config = load(tmp_path, TRIPLES)
    ports = [[party.address[1] for party in triple.values()] for triple in config.triples]
    assert ports == [[4000, 4001, 4002], [4010, 4011, 4012]]
    assert [party.host for party in config.replica(1).parties.values()] == [f"localhost:401{i}" for i in range(3)]
    assert config.replica(1).triples == (config.replica(1).parties,)  # and knows of no other
    assert "4000" not in config.replica(1).to_json()
    assert ClusterConfig.parse(json.loads(config.to_json())) == config
    assert ClusterConfig.parse(json.loads(config.replica(1).to_json())) == config.replica(1)
    one = load(tmp_path, GOOD)
    assert one.replica(0) == one
    with pytest.raises(ConfigError, match=r"no replica 2; use 0 to 1"):
        config.replica(2)
    with pytest.raises(ConfigError, match=r"no replica 1; there is one triple, replica 0"):
        one.replica(1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4011", "4001", r"parties\.1\.server1\.host: 'localhost:4001' is taken by 0\.server1 already"),
        ("localhost:4011", "example.org:4011", r"tls: is missing, and parties\.1\.server1 \(example\.org\)|is missing"),
        ('server2: {host: "localhost:4012"}', 'server3: {host: "localhost:4012"}', "unknown party 'server3'"),
        ('"localhost:4012"', '"localhost"', r"parties\[\]\.1\.server2\.host: 'localhost' is not 'host:port'"),
        ('localhost:4012"}', 'localhost:4012", hosts: 1}', r"hosts: is not a known field; did you mean 'host'"),
        ('- {server0: {host: "localhost:4010"}', "- [1]\n#", "must name three parties"),
    ],
)
def test_what_is_wrong_with_triples(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TRIPLES
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, TRIPLES.replace(old, new))


def test_triples_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the list is empty"):
        load(tmp_path, "parties: []")
    with pytest.raises(ConfigError, match="further: is not a known field"):
        load(tmp_path, GOOD + "further: []\n")
    with pytest.raises(ConfigError, match="or three a replica; 4 were given"):
        ClusterConfig.of_hosts([f"localhost:{port}" for port in range(1, 5)])
