"""What a party keeps over a restart: its shares of models, encrypted and authenticated (`storage` in cluster.yaml)."""
