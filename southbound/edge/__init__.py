"""The only importers of client libraries: Kafka's and Redis's. Everything else speaks to these."""
