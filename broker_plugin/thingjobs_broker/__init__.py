"""The jobs service: the core, its store, and the adapters that run it in or beside a broker."""
