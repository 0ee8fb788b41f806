"""The programs that scripts/develop and the maintainers' scripts run."""
