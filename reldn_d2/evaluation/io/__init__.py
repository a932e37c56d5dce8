"""Files of an evaluation: predictions, results, submissions to the OpenImages challenge, and image labels."""
