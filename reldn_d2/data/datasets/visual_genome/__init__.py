"""Visual Genome: VG150 in the community's h5 layout, and the raw annotation with any vocabulary."""
