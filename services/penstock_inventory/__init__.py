"""Package penstock_inventory of Penstock; see ARCHITECTURE.md for the map."""
