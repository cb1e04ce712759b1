"""The true service is killed, and so is the broker, or the power is cut: what was told must still be true."""
