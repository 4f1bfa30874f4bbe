"""What may be fetched, fetched and unpacked safely."""
