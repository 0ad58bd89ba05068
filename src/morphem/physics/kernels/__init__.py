"""Fused loops for a CPU or a GPU; every one has a readable twin one floor up, and a test that they agree."""
