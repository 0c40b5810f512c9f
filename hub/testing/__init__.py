"""What tests and the demo share: simulators' ledger and faults, a host without a hub, a private PostgreSQL."""
