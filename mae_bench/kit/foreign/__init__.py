"""Encoders of other libraries: read with proof, written for them, fetched by name."""
