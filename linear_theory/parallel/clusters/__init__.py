"""Groups of components whose singular values nearly tie: what the gap around them alone decides."""
