"""What every door of the gateway shares, and the self-hosted door."""
