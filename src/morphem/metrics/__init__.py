"""How far what was found is from what is known. Metrics take words, never a model."""
