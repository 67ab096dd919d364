"""Three connected parties, as the protocol tests have them."""

from tests.mpc.conftest import memory_three, tls_three

__all__ = ["memory_three", "tls_three"]
