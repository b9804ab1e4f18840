"""Package penstock_scheduler of Penstock; see ARCHITECTURE.md for the map."""
