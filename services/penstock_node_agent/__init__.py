"""Package penstock_node_agent of Penstock; see ARCHITECTURE.md for the map."""
