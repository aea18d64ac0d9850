"""Work on other processes and machines, by dask.distributed."""
