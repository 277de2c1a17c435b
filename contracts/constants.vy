# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The one home of every number and type string that Python and Vyper must agree on.
# Only `NAME: constant(type) = literal` lines: each is valid Vyper and a valid Python annotated assignment,
# so `contracts/__init__.py` reads this file with `ast`. Nothing computed, nothing imported.

# EIP-712 domains (https://eips.ethereum.org/EIPS/eip-712)
DOMAIN_NAME: constant(String[6]) = "Dodona"
DOMAIN_VERSION: constant(String[1]) = "1"
STAKING_DOMAIN_NAME: constant(String[14]) = "Dodona Staking"

# EIP-712 struct types that validators sign. The noun and field order are the same in Python.
OBSERVATION_TYPE: constant(String[110]) = "Observation(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 valuesHash,bytes32 commitment)"
PROPOSAL_TYPE: constant(String[80]) = "Proposal(bytes32 configDigest,uint32 slot,bytes32 observationsHash)"
REPORT_TYPE: constant(String[80]) = "Report(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 root)"
KEY_TYPE: constant(String[64]) = "KeyRegistration(address owner,address key,uint256 nonce)"

# Validators and stake
MAX_VALIDATORS: constant(uint256) = 64
STAKE_CAP_BPS: constant(uint256) = 3000
BPS: constant(uint256) = 10000
MAX_STAKE: constant(uint256) = 79228162514264337593543950335

# Feeds: number n lives in lane n % 4 of page n // 4; a vector feed also owns lane n + 1 of the same page
LANES: constant(uint256) = 4
PAGE_BYTES: constant(uint256) = 128
MAX_PAGES: constant(uint256) = 32
MAX_FEED_NUMBER: constant(uint256) = 65535
RING: constant(uint256) = 1024
MAX_OUTCOMES: constant(uint256) = 16
KIND_PRICE: constant(uint256) = 0
KIND_FORECAST: constant(uint256) = 1
KIND_EVENT: constant(uint256) = 2

# Flags of a feed word, set by consensus and signed; the chain never derives them again
FLAG_INVALID: constant(uint256) = 1
FLAG_TURNOUT: constant(uint256) = 2
FLAG_DISPERSION: constant(uint256) = 4
FLAG_JUMP: constant(uint256) = 8
FLAG_OUT_OF_BOUNDS: constant(uint256) = 16
FLAG_FAMILY: constant(uint256) = 32
FLAG_FINAL: constant(uint256) = 64
FLAG_VECTOR: constant(uint256) = 128

# Whether the newest round of a feed can be relied on, as the Aggregator judges it now
STATUS_STALE: constant(uint256) = 1
STATUS_INVALID: constant(uint256) = 2
STATUS_PAUSED: constant(uint256) = 4
STATUS_SEQUENCER: constant(uint256) = 8
STATUS_RETIRED: constant(uint256) = 16
STATUS_EMPTY: constant(uint256) = 32

# A guardian's pause ends by itself; the next one of the same kind has to wait. Seconds.
PAUSE_SECONDS: constant(uint256) = 86400
PAUSE_INTERVAL: constant(uint256) = 604800
# Notice before a feed is retired, in seconds
RETIREMENT_NOTICE: constant(uint256) = 2592000
# Gas of a transmission that a request pays for at least, at the price of its block
REQUEST_GAS: constant(uint256) = 150000

# Faces that the factory makes
FACE_FEED: constant(uint256) = 0
FACE_STRICT: constant(uint256) = 1
FACE_POSITIVE: constant(uint256) = 2
FACE_FORECAST: constant(uint256) = 3
FACE_EVENT: constant(uint256) = 4

# Staking
MAX_OWNERS: constant(uint256) = 256
MAX_POSITIONS: constant(uint256) = 16
MAX_CLAIMS: constant(uint256) = 16
# Closed exits of one validator that are not free yet; another one closes only when the oldest is.
MAX_CLOSED_EXITS: constant(uint256) = 32
# How far effective stake may rise, and fall, from one config to the next
CHURN_BPS: constant(uint256) = 1000
# Rolls until a new key, new stake or a higher commission counts: a full epoch passes in between
NOTICE_EPOCHS: constant(uint256) = 2
# Longest epoch, evidence window and vote, in seconds
MAX_WAIT: constant(uint256) = 31536000
# Rate of a slash that takes all
RATE_ONE: constant(uint256) = 1000000000000000000
REPORTER_SHARE_BPS: constant(uint256) = 1000
