"""What every door shares, and the self-hosted door."""
