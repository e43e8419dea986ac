package ldif

import (
	"encoding/base64"
	"strings"
)

// valueSpec reads what stands behind the first colon of a value-spec; why tells
// what is wrong.
func valueSpec(rest string) (value, why string) {
	switch {
	case strings.HasPrefix(rest, "<"):
		return "", "the value is a URL, which is not followed"
	case strings.HasPrefix(rest, ":"):
		raw, err := base64.StdEncoding.DecodeString(strings.Trim(rest[1:], " "))
		if err != nil {
			return "", "not base64"
		}
		return string(raw), ""
	}
	return strings.TrimLeft(rest, " "), ""
}
