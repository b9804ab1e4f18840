"""How does an existing database become what `schema` describes? One file per step in `versions`."""
