"""Lambda's door for API Gateway."""
