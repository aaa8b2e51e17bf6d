"""Rainy pairs: rendering, reading, checking and feeding them. Knows no model."""
