"""A day of mixed load of five tenants on a real mesh."""
