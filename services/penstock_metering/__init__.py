"""Package penstock_metering of Penstock; see ARCHITECTURE.md for the map."""
