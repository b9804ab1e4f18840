"""Package penstock_mesh of Penstock; see ARCHITECTURE.md for the map."""
