"""The generated parts of the documentation: tables and pictures."""
