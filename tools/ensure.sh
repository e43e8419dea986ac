#!/bin/bash
# Installs what is missing: as root with apt-get, and otherwise it says which
# command to run. Names: postgresql docker-compose swaks wbxml ldap ical dav
set -euo pipefail

min_major=15

# Only PostgreSQL is indispensable: a test that lacks another tool says so.
optional() { [ "$1" != postgresql ]; }

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

# swaks speaks TLS only with this library, which its package merely recommends.
have_swaks() { command -v swaks >/dev/null && perl -MNet::SSLeay -e 1 2>/dev/null; }

have_wbxml() { command -v wbxml2xml >/dev/null && command -v xml2wbxml >/dev/null; }

# The library is the system's Python's, which need not be the first in PATH.
have_ldap() { command -v ldapsearch >/dev/null && /usr/bin/python3 -c 'import ldap3' 2>/dev/null; }

# Two libraries that know nothing of each other: tests ask them about recurrence.
have_ical() { /usr/bin/python3 -c 'import ctypes, dateutil; ctypes.CDLL("libical.so.3")' 2>/dev/null; }

# Programs for calendars and contacts.
have_dav() {
	local name
	for name in vdirsyncer khal khard todoman litmus; do
		command -v "$name" >/dev/null || return 1
	done
	/usr/bin/python3 -c 'import caldav' 2>/dev/null
}

have_chromium() { command -v chromium >/dev/null; }

packages() {
	case $1 in
	swaks) echo swaks libnet-ssleay-perl ;;
	wbxml) echo libwbxml2-utils ;;
	ldap) echo ldap-utils python3-ldap3 ;;
	ical) echo python3-dateutil libical3 ;;
	dav) echo vdirsyncer khal khard todoman python3-caldav litmus ;;
	*) echo "$1" ;;
	esac
}

# Debian's package would start a cluster of its own, which nobody here uses.
before_postgresql() {
	mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/waypost.conf
}

missing=() wanted=() status=0
for name in "$@"; do
	"have_$name" && continue
	missing+=("$name")
	wanted+=($(packages "$name"))
	optional "$name" || status=1
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing: ${missing[*]}. Install with: sudo apt-get install -y --no-install-recommends ${wanted[*]}" >&2
	exit $status
fi
if ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}. Install with this system's package manager (PostgreSQL $min_major or newer)." >&2
	exit $status
fi

export DEBIAN_FRONTEND=noninteractive
echo "installing ${wanted[*]} with apt-get"
apt-get update -qq || echo "apt-get update failed; trying with the old lists" >&2
status=0
for name in "${missing[@]}"; do
	if declare -F "before_$name" >/dev/null; then "before_$name"; fi
	if apt-get install -y -qq --no-install-recommends $(packages "$name") >/dev/null && "have_$name"; then
		continue
	fi
	if optional "$name"; then
		echo "$name could not be installed; its tests are skipped" >&2
	else
		echo "$name could not be installed, or is older than needed (PostgreSQL $min_major)" >&2
		status=1
	fi
done
exit $status
