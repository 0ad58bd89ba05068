"""Things with parameters: densities, networks, tables of per-particle rows."""
