package envelope

import "strings"

// A moderator decides about a message by writing to an address that was made for
// it: a word, a hyphen and a secret (services/relay). It is here because doors
// must not write the secret into their logs.

// BallotSecret is the length of the secret, that of crypto/rand.Text.
const BallotSecret = 26

var ballotWords = map[string]bool{"approve": true, "reject": true, "moderate": true}

// Ballot reads such an address.
func Ballot(address string) (word, secret string, ok bool) {
	local, _ := Split(address)
	word, secret, _ = strings.Cut(strings.ToLower(local), "-")
	if len(secret) != BallotSecret || !ballotWords[word] {
		return "", "", false
	}
	return word, secret, true
}

// ForLog gives addresses as a log may have them.
func ForLog(addresses ...string) []string {
	list := make([]string, len(addresses))
	for i, a := range addresses {
		if word, _, ok := Ballot(a); ok {
			a = word + "-…@" + Domain(a)
		}
		list[i] = a
	}
	return list
}
