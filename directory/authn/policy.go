package authn

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn/frequency"

	"waypost/directory"
	"waypost/internal/fault"
)

// guessed are what guessers try first, of the lists that zxcvbn comes with:
// 30,000 passwords that were stolen and published, and the words and names that
// are used most (a word is only in the list where it stands highest). They are
// lower case.
var guessed = sync.OnceValue(func() map[string]struct{} {
	n := 0
	for _, list := range frequency.FrequencyLists {
		n += len(list)
	}
	m := make(map[string]struct{}, n)
	for _, list := range frequency.FrequencyLists {
		for _, p := range list {
			m[p] = struct{}{}
		}
	}
	return m
})

// maxTail is how many digits and marks behind a common password do not make
// another one of it.
const maxTail = 4

// Common tells whether a password is one that guessers try first: on the list in
// any case, or with a few digits and marks behind it ("Password1!").
func Common(password string) bool {
	p := strings.ToLower(password)
	if _, ok := guessed()[p]; ok {
		return true
	}
	word := strings.TrimRightFunc(p, func(r rune) bool { return !unicode.IsLetter(r) })
	if word == "" || len(p)-len(word) > maxTail {
		return false
	}
	_, ok := guessed()[word]
	return ok
}

// Acceptable holds a new password to its policy, as far as it can be told from
// the password itself. names are what its account is called. The faults are
// Invalid and say what is wanted.
func Acceptable(p directory.Policy, password string, names ...string) error {
	if utf8.RuneCountInString(password) < p.MinLength {
		return fault.New(fault.Invalid, "the password is shorter than %d characters", p.MinLength)
	}
	if p.Complexity {
		if kinds(password) < 3 {
			return fault.New(fault.Invalid, "the password needs characters of three kinds: lower case, upper case, digits, others")
		}
		if contains(password, names) {
			return fault.New(fault.Invalid, "the password has a part of the name in it")
		}
	}
	if Common(password) {
		return fault.New(fault.Invalid, "the password is one of those that are guessed first")
	}
	return nil
}

// kinds counts the kinds of characters (MS-SAMR 3.1.1.7.2; letters without case
// are a kind of their own).
func kinds(password string) (n int) {
	var have [5]bool
	for _, r := range password {
		switch {
		case unicode.IsLower(r):
			have[0] = true
		case unicode.IsUpper(r):
			have[1] = true
		case unicode.IsDigit(r):
			have[2] = true
		case unicode.IsLetter(r):
			have[3] = true
		default:
			have[4] = true
		}
	}
	for _, h := range have {
		if h {
			n++
		}
	}
	return n
}

// contains looks for the account's names, and for the words of them, of three
// letters and more (MS-SAMR 3.1.1.7.2).
func contains(password string, names []string) bool {
	p := directory.Fold(password)
	for _, name := range names {
		words := strings.FieldsFunc(directory.Fold(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for _, w := range words {
			if utf8.RuneCountInString(w) >= 3 && strings.Contains(p, w) {
				return true
			}
		}
	}
	return false
}
