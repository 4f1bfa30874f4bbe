"""Pictures of masks and of figures."""
