"""Volcano Engine text-to-speech within the account's limit: the client, and what the gateway is made of."""
