"""What a YAML file may choose: a frozen section each, whose build() imports the heavy libraries inside."""
