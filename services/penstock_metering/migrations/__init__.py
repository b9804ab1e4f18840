"""How does an existing database become what `ledger.schema` says? One file a step in `versions`."""
