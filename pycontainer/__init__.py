"""A container engine that is a library: pull, build and run OCI images in process, with no daemon."""
