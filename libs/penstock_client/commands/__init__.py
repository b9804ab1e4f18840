"""What does each command do? One module per family, loaded when used; `cli` holds the table."""
