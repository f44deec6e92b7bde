"""What the maps of many pictures say together, and where two models look differently."""
