"""cluster.yaml: one file a section."""

from keras_private.config.access import ANY, AccessConfig, ClientAccess, OwnerAccess, Quota, Rules
from keras_private.config.cluster import CLUSTER_FILE, START_S, ClusterConfig
from keras_private.config.limits import REQUESTS_IN_MEMORY, Limits
from keras_private.config.metrics import MetricsConfig
from keras_private.config.parties import ALL_INTERFACES, FOLLOWERS, LEADER, PARTY_NAMES, PartyConfig, parse_host
from keras_private.config.storage import StorageConfig
from keras_private.config.tls import TLSConfig

__all__ = [
    "ALL_INTERFACES",
    "ANY",
    "CLUSTER_FILE",
    "FOLLOWERS",
    "LEADER",
    "PARTY_NAMES",
    "REQUESTS_IN_MEMORY",
    "START_S",
    "AccessConfig",
    "ClientAccess",
    "ClusterConfig",
    "Limits",
    "MetricsConfig",
    "OwnerAccess",
    "PartyConfig",
    "Quota",
    "Rules",
    "StorageConfig",
    "TLSConfig",
    "parse_host",
]
