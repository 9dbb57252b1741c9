"""One module a resource: paths, parameters, answers. What they decide is in services/api/actions."""
