package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"

	"waypost/directory"
)

// An application password is 128 random bits, so that its digest can be a fast
// one: nobody guesses it, whatever he computes.
const appBytes = 16

var readable = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewAppPassword makes an application password in groups that people can type,
// and its digest.
func NewAppPassword() (secret string, digest []byte) {
	var raw [appBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	return grouped(raw[:], 5), appDigest(raw[:])
}

// grouped writes bytes as base32 in groups of n letters.
func grouped(raw []byte, n int) string {
	text := strings.ToLower(readable.EncodeToString(raw))
	var b strings.Builder
	for i, r := range text {
		if i > 0 && i%n == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ungrouped reads what grouped wrote, however it was typed; nil for other text.
func ungrouped(text string, size int) []byte {
	text = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(text))
	raw, err := readable.DecodeString(text)
	if err != nil || len(raw) != size {
		return nil
	}
	return raw
}

func appDigest(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte("waypost application password\x00"), raw...))
	return sum[:]
}

// appOf finds the application password that was shown, 0 for none.
func appOf(list []directory.AppDigest, password string) (id int64) {
	raw := ungrouped(password, appBytes)
	if raw == nil {
		return 0
	}
	digest := appDigest(raw)
	for _, a := range list {
		if subtle.ConstantTimeCompare(a.Digest, digest) == 1 {
			id = a.ID
		}
	}
	return id
}
