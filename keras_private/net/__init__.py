"""Authenticated connections: certificates, TLS, frames, and the links between the three parties."""
