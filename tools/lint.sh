#!/bin/bash
# Formatting, vet, static analysis, tidy modules, known vulnerabilities.
# Every step runs; the exit status tells whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.cache/tools
go=${GO:-go}
failed=0

step() {
	local name=$1 began=$SECONDS
	shift
	"$@" || {
		failed=1
		echo "lint: $name failed"
	}
	echo "lint: $name took $((SECONDS - began)) s"
}

formatted() {
	local bad
	bad=$("$tools/gofumpt" -l .) || return 1
	[ -z "$bad" ] && return 0
	echo "not formatted (make fmt):" && echo "$bad"
	return 1
}

# What was built is not part of the source.
small() {
	local big
	big=$(git ls-files -z | xargs -0 -r stat -c '%s %n' 2>/dev/null | awk '$1 > 1048576')
	[ -z "$big" ] && return 0
	echo "larger than 1 MiB:" && echo "$big"
	return 1
}

# The database of vulnerabilities is on the network. Without it there is
# nothing to check against, which is no fault of the code: say so and go on.
vulnerabilities() {
	local out status
	out=$(timeout 300 "$tools/govulncheck" ./... 2>&1)
	status=$?
	if [ $status -eq 124 ]; then
		echo "lint: vulnerability check skipped, its database does not answer"
		return 0
	fi
	if [ $status -eq 1 ] && grep -qE 'vuln\.go\.dev|dial tcp|no such host|proxyconnect|i/o timeout|connection refused|fetching' <<<"$out"; then
		echo "lint: vulnerability check skipped, its database cannot be reached: $(tail -1 <<<"$out")"
		return 0
	fi
	[ $status -eq 0 ] || echo "$out"
	return $status
}

step "file sizes" small
step "gofumpt" formatted
step "go vet" "$go" vet ./...
step "staticcheck" "$tools/staticcheck" ./...
step "go mod tidy" "$go" mod tidy -diff
step "govulncheck" vulnerabilities
[ $failed -eq 0 ] && echo "lint: all passed"
exit $failed
