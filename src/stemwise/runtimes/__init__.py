"""Networks in other runtimes than PyTorch: exported to files that run without stemwise."""
