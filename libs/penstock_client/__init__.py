"""Package penstock_client of Penstock; see ARCHITECTURE.md for the map."""
