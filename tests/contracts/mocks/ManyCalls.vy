# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# An account that makes several calls in one transaction. Only for tests.


@external
def run(target: address, payloads: DynArray[Bytes[260], 8]):
    for payload: Bytes[260] in payloads:
        raw_call(target, payload)
