"""The upstream speech API: its words, its wire and its failures."""
