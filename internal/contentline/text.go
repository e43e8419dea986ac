package contentline

import "strings"

// Unescape reads the TEXT type (RFC 5545 section 3.3.11, RFC 6350 section 3.4).
// A backslash before anything else stands for itself.
func Unescape(value string) string {
	if !strings.Contains(value, `\`) {
		return value
	}
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\\' && i+1 < len(value) {
			switch next := value[i+1]; next {
			case 'n', 'N':
				b.WriteByte('\n')
				i++
				continue
			case '\\', ';', ',', ':', '"':
				b.WriteByte(next)
				i++
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, `;`, `\;`, `,`, `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)

// Escape writes the TEXT type.
func Escape(text string) string { return escaper.Replace(text) }

// Split cuts a value at a separator that no backslash precedes. The parts keep
// their escapes.
func Split(value string, separator byte) []string {
	var parts []string
	begin := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, value[begin:i])
			begin = i + 1
		}
	}
	return append(parts, value[begin:])
}

// List reads a list of texts separated by commas.
func List(value string) []string { return texts(Split(value, ',')) }

// JoinList writes one.
func JoinList(list []string) string { return join(list, ",") }

// Fields reads a structured value: texts separated by semicolons (N, ADR, ORG,
// REQUEST-STATUS).
func Fields(value string) []string { return texts(Split(value, ';')) }

// JoinFields writes one.
func JoinFields(fields []string) string { return join(fields, ";") }

func texts(parts []string) []string {
	for i := range parts {
		parts[i] = Unescape(parts[i])
	}
	return parts
}

func join(list []string, separator string) string {
	escaped := make([]string, len(list))
	for i, s := range list {
		escaped[i] = Escape(s)
	}
	return strings.Join(escaped, separator)
}
