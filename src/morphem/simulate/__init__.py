"""Molecules in motion whose every image and map is known exactly."""
