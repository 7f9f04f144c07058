"""Compare the project's images with seven other Dockerfiles."""
