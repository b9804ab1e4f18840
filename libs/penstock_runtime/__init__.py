"""Package penstock_runtime of Penstock; see ARCHITECTURE.md for the map."""
