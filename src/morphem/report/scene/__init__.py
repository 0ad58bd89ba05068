"""What a page shows of a result: a JSON record and arrays, as ``web/src/scene.ts`` declares them."""
