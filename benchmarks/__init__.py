"""What measurements of the drivers and of the integration need."""
