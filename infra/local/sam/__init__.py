"""The function in Lambda's own container: `cdk synth`, then the real `sam local invoke` with every event file."""
