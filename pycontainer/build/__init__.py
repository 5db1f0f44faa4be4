"""Building images: the language of Dockerfiles here, and what executes it."""
