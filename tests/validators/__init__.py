"""Real tools over the files of deploy/: `make test-deploy` fetches them. Each is shown a fault it has to see."""
