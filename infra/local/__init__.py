"""The same stack on one machine: embedded AWS, simulated upstream, demo."""
