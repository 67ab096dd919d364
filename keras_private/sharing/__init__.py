"""Fixed point, shares and masks: numpy alone, no network."""
