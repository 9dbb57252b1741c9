"""How CommandCenter is put on a machine: `local` without Docker, the other folders for containers and clusters."""
