"""Weight decay on linear layers as a penalty on singular values."""
