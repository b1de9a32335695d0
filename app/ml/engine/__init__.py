"""Where the heavy pieces of a run are worked on: in this process, or by the workers of a Dask cluster."""
