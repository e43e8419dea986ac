//go:build !race

package ldap

const raceDetector = false
