"""Suites, metrics and reports: how methods are compared at equal budgets."""
