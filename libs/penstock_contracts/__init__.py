"""Package penstock_contracts of Penstock; see ARCHITECTURE.md for the map."""
