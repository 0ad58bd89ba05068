"""The two verbs, descend and sweep, and what a run keeps on disk."""
