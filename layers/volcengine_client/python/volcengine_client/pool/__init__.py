"""The global semaphore: one shared limit over every process that uses the account."""
