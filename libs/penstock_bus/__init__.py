"""Package penstock_bus of Penstock; see ARCHITECTURE.md for the map."""
