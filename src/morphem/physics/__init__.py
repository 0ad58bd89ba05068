"""The physics of image formation: pure functions of words."""
