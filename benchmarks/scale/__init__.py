"""How is one control plane loaded with very many nodes? Simulated nodes, their drivers, meters."""
