// Command waypost-frontend is Waypost's front end: phones and calendar programs over HTTPS.
package main

import "waypost/cmd/internal/roles"

func main() {
	roles.Main("waypost-frontend", "Waypost's front end: phones and calendar programs over HTTPS.", (*roles.Program).FrontendServer)
}
