"""Everything that talks to a chain: the RPC, one account's transactions, the oracle adapter, deployment."""
