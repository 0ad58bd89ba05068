"""Fused loops for the CPU; every one has a readable twin one floor up, and a test that they agree."""
