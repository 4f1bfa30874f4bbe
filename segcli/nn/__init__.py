"""Networks, layers and losses as plain torch modules."""
