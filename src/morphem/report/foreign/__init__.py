"""Results of other programs, as a page shows them."""
