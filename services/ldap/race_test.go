//go:build race

package ldap

// raceDetector: memory is not what it would be.
const raceDetector = true
