"""Poses and latents of images, given maps: search, refinement, subspaces."""
