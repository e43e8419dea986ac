// Command waypost-directory is Waypost's directory: look-ups, sign-in and the feed of changes for the other programs.
package main

import "waypost/cmd/internal/roles"

func main() {
	roles.Main("waypost-directory", "Waypost's directory: look-ups, sign-in and the feed of changes for the other programs.", (*roles.Program).DirectoryServer)
}
