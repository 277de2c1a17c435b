"""The least that a node's settings file must say."""

MINIMAL = """
[node]
name = "alder"
data_dir = "data"
[chain]
rpc_url = "http://127.0.0.1:8545"
chain_id = 1
aggregator = "0x00000000000000000000000000000000000000aa"
staking = "0x00000000000000000000000000000000000000bb"
[key]
keystore = "key.json"
password_env = "SECRET"
[http]
port = 9300
"""
