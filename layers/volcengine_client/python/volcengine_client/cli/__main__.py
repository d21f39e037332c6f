"""`python -m volcengine_client.cli`."""

from volcengine_client.cli import main

main()
