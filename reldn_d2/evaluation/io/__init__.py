"""What evaluation reads and writes: predictions, results, submissions to the OpenImages challenge, image labels."""
