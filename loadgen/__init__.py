"""A million simulated nodes against real clusters: workloads, nodes, histories, checker, coordination."""
