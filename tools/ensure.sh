#!/bin/bash
# Installs what is missing: as root with the system's package manager, and
# otherwise it says which command to run. Names: postgresql docker-compose
set -euo pipefail

min_major=15

# The newest PostgreSQL server, in PATH or where Debian keeps it.
have_postgresql() {
	local postgres version
	for postgres in $(command -v postgres || true) /usr/lib/postgresql/*/bin/postgres; do
		[ -x "$postgres" ] || continue
		version=$("$postgres" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
		[ "${version:-0}" -ge "$min_major" ] && return 0
	done
	return 1
}

have_docker-compose() { command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1; }

# Debian's package would start a cluster of its own, which nobody here uses.
before_postgresql() {
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/waypost.conf
}

# Only PostgreSQL is indispensable: a test that lacks another tool says so.
optional=" docker-compose "

missing=()
for name in "$@"; do
	"have_$name" || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing: ${missing[*]}. Install it with: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
	for name in "${missing[@]}"; do
		[[ $optional == *" $name "* ]] || exit 1
	done
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}. Install it with this system's package manager (PostgreSQL $min_major or newer)." >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
updated=no
for name in "${missing[@]}"; do
	if [ $updated = no ]; then
		echo "installing ${missing[*]} with apt-get"
		apt-get update -qq
		updated=yes
	fi
	if declare -F "before_$name" >/dev/null; then "before_$name"; fi
	if ! apt-get install -y -qq --no-install-recommends "$name" >/dev/null; then
		[[ $optional == *" $name "* ]] || exit 1
		echo "$name could not be installed; its tests are skipped" >&2
	fi
	if ! "have_$name"; then
		[[ $optional == *" $name "* ]] || {
			echo "$name is installed, but it is older than needed ($min_major)" >&2
			exit 1
		}
	fi
done
