"""What holds a port, and freeing one: `surveying` looks, `verdict` and `shadows` tell, `freeing` acts."""
