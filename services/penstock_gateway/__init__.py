"""Package penstock_gateway of Penstock; see ARCHITECTURE.md for the map."""
