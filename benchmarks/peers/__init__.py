"""Other programs on the same particles: installed apart, called as programs, never imported."""
