"""OpenImages: visual relationships of the challenge of 2018 and of later years."""
