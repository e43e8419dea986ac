package meeting

import "testing"

func TestNamesPeople(t *testing.T) {
	for text, want := range map[string]bool{
		"BEGIN:VEVENT\r\nSUMMARY:alone\r\nEND:VEVENT\r\n":                   false,
		"BEGIN:VEVENT\r\nATTENDEE:mailto:a@b.test\r\nEND:VEVENT\r\n":        true,
		"BEGIN:VEVENT\nattendee:mailto:a@b.test\nEND:VEVENT\n":              true,
		"BEGIN:VEVENT\r\nATTEN\r\n DEE:mailto:a@b.test\r\nEND:VEVENT\r\n":   true,
		"BEGIN:VEVENT\r\nORG\r\n\tANIZER:mailto:a@b.test\r\nEND:VEVENT\r\n": true,
	} {
		if namesPeople([]byte(text)) != want {
			t.Errorf("%q: want %v", text, want)
		}
	}
}
