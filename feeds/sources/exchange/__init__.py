"""Exchanges through ccxt: REST, websockets, order books."""
