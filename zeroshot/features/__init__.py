"""Image features: computed once, stored by the content of the images."""
