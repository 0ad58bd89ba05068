"""The words of the field: grids, transforms, rotations and the records made of them."""
