"""The services, one folder each. They never import each other; what they share lies in `shared`."""
