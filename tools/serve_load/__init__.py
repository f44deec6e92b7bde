"""Load a server, and send it bad requests."""
