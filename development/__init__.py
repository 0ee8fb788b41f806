"""What scripts/develop and the maintainers' scripts run."""
