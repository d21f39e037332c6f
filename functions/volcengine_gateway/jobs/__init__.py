"""Jobs: batches of any size, worked on slice by slice."""
