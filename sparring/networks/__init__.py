"""The networks of the papers: modules, tensors in and out."""
