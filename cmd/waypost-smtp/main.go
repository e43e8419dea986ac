// Command waypost-smtp is Waypost's transport: mail from and to the world, and the queue of outgoing mail.
package main

import "waypost/cmd/internal/roles"

func main() {
	roles.Main("waypost-smtp", "Waypost's transport: mail from and to the world, and the queue of outgoing mail.", (*roles.Program).TransportServer)
}
