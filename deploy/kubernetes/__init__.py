"""The same service on Kubernetes: manifests made from the params.yaml that rollouts on one machine go by."""
