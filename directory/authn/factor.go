package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// period is RFC 6238's time step in seconds, and skew how many steps a clock
	// may be off either way (§5.2).
	period = 30
	skew   = 1
	// factorBytes is the secret's length: that of HMAC-SHA-1 (RFC 4226 §4 R6).
	factorBytes = 20
	// recoveryCodes are made at a time; each has recoveryBytes.
	recoveryCodes = 10
	recoveryBytes = 10
)

// NewFactor makes the secret of a second factor for an account: what programs of
// every phone understand, six digits, HMAC-SHA-1, 30 s.
func NewFactor(issuer, account string) (directory.FactorKey, []byte, error) {
	secret := make([]byte, factorBytes)
	_, _ = rand.Read(secret) // never fails
	k, err := totp.Generate(totp.GenerateOpts{
		Issuer: issuer, AccountName: account, Period: period, Secret: secret, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil {
		return directory.FactorKey{}, nil, fault.From(fault.Invalid, err, "no second factor can be made for %q", account)
	}
	return directory.FactorKey{URL: k.URL(), Secret: k.Secret()}, secret, nil
}

// MatchFactor finds the time step that a code is of, later than after: a code is
// good once (RFC 6238 §5.2).
func MatchFactor(secret []byte, code string, now time.Time, after int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	if len(code) != int(otp.DigitsSix) {
		return 0, false
	}
	text := readable.EncodeToString(secret)
	at := now.Unix() / period
	for s := at - skew; s <= at+skew; s++ {
		want, err := hotp.GenerateCodeCustom(text, uint64(max(s, 0)), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && s > after {
			step, ok = s, true
		}
	}
	return step, ok
}

// NewRecovery makes codes that work once each instead of a second factor's, and
// their digests.
func NewRecovery() (codes []string, digests [][]byte) {
	for range recoveryCodes {
		var raw [recoveryBytes]byte
		_, _ = rand.Read(raw[:]) // never fails
		codes = append(codes, grouped(raw[:], 4))
		digests = append(digests, recoveryDigest(raw[:]))
	}
	return codes, digests
}

func recoveryDigest(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte("waypost recovery code\x00"), raw...))
	return sum[:]
}

// used is what a code turned out to be: a time step or a recovery code.
type used struct {
	step     int64
	recovery []byte
}

// matchCode looks at a code of either kind.
func matchCode(f *directory.Factor, code string, now time.Time) (u used, ok bool) {
	if u.step, ok = MatchFactor(f.Secret, code, now, f.Step); ok {
		return u, true
	}
	raw := ungrouped(code, recoveryBytes)
	if raw == nil {
		return used{}, false
	}
	digest := recoveryDigest(raw)
	for _, d := range f.Recovery {
		if subtle.ConstantTimeCompare(d, digest) == 1 {
			u, ok = used{recovery: digest}, true
		}
	}
	return u, ok
}
