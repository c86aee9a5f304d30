"""Estimates about parameters and components from designs that move all of them."""
