"""The live page: what a server on this machine answers to it."""
