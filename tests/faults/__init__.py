"""What goes wrong with one device, and what the owner sees of it and the others."""
