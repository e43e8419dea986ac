#!/bin/bash
# Every test of the module. lint runs vet, so that it is not run twice.
set -uo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}

# What these look at the cache of results does not see: all sources and the
# programs. They run each time, and last: e2e measures times, which others
# beside it would disturb.
whole='/internal/(archtest|e2e)$'

packages=$("$go" list ./...) || exit 1
status=0
"$go" test -vet=off -timeout 20m $(grep -vE "$whole" <<<"$packages") || status=1
"$go" test -vet=off -timeout 20m -count=1 $(grep -E "$whole" <<<"$packages") || status=1
exit $status
