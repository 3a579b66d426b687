"""Forward passes: two networks run on the same images and compared at every end point they share."""
