"""Lambda's door for SQS."""
