"""What `reldn predict` reads and writes: images, boxes, results, and the record of a run that can go on."""
