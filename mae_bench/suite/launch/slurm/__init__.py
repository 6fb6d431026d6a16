"""Jobs as SLURM's: one sbatch file each, the whole graph submitted at once, and followed."""
