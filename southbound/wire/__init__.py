"""The wire format (docs/wire.md): keys, envelopes, control records, reports. Pure."""
