"""Charges in the columns of the FinOps Open Cost and Usage Specification."""
