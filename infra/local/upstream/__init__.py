"""The simulated upstream: Volcano Engine's v1 speech API on this machine, with its limits, refusals and faults."""
