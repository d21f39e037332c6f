"""The stack: what is deployed, and how it runs on one machine."""
