// Command waypost-store is Waypost's mailbox server: LMTP, IMAP and maintenance.
package main

import "waypost/cmd/internal/roles"

func main() {
	roles.Main("waypost-store", "Waypost's mailbox server: LMTP, IMAP and maintenance.", (*roles.Program).StoreServer)
}
