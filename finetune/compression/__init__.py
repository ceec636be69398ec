"""Networks of fewer numbers: every linear map replaced by one of low rank, chosen on its inputs."""
